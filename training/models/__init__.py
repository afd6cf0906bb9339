"""The policy as weights: loading, adapters, shapes, arithmetic.

policy.py      loading a policy, with an adapter, as training left it
adapters.py    one adapter for all roles, or one for each
converted.py   dequantised copies of GGUF files
device.py      the device that models are on
precision.py   the type that other adapters compute in
fused_adapters.py  plain LoRA layers in few operations
kernels.py     fused GPU kernels, where installed
prefix_tree.py  whether attention knows of shared prefixes
allocator.py   freed memory stays with the process
shapes.py      model shapes by name
flops.py       operations of a pass, data sheets of accelerators
"""
