"""The plan of a run: memory of each GPU, tokens and seconds of a step. `python -m training.plan`."""
