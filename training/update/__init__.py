"""From rollouts to a gradient.

rows.py            a training sequence, and the loss terms of its tokens
assemble.py        groups of rollouts become rows
packing.py         rows become micro-batches, by prefix tree or padded
packable.py        which models can be packed
packing_check.py   the first micro-batch, packed against unpacked
attention.py       attention over packed rows
pieces.py          the attention calls it is made of
varlen.py          the same on CUDA
one_query.py       attention of one new token a sequence
logprobs.py        log-probabilities of the terms of a micro-batch
gradient.py        the gradient of a step's micro-batches
"""
