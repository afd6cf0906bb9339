"""Measures what a run costs besides its models: `python -m evals.speed`."""
