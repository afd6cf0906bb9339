"""Benchmark of updates against TRL. `python -m training.speed`."""
