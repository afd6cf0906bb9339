"""The policy as weights: loading, adapters, shapes by name, arithmetic of operations and memory."""
