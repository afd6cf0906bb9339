"""Sampling from vLLM servers: `engine` over `server` (HTTP), `delivery` of weights, `probe` of a server's settings."""
