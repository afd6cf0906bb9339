"""Measure a policy on held-out tasks. `python -m training.validate`."""
