"""Engines that sample from the policy: `base` is the protocol, `in_process` and `vllm` implement it."""
