"""Sampling from vLLM servers.

engine.py     the engine: which server, which version, when weights may change
sampler.py    completions, in the trainer's process or another: servers by task, repairs
server.py     one server over HTTP
delivery.py   how weights reach the servers
probe.py      what a server must be like before it may sample
child.py      a server that the run starts itself
card.py       how trainer and server share one GPU
"""
