"""Engines that sample from the policy: token ids go in and come out.

base.py         the protocol `Engine`, and what goes in and comes out
kinds.py        the engines by name: what each is, how it is made
in_process.py   sampling in the trainer's process, by waves
decoding.py     prefill and drawing of many sequences at once
graphs.py       decoding steps as CUDA graphs
memories.py     keys and values kept between turns
vllm/           sampling from vLLM servers
"""
