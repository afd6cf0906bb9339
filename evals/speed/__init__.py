"""What a run costs besides its models. `python -m evals.speed`."""
