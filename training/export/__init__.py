"""Export of what a run has trained, in Hub format and GGUF. `python -m training.export`."""
