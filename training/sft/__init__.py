"""Supervised fine-tuning on successful rollouts. `python -m training.sft`."""
