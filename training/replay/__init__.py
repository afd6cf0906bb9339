"""Stored rollouts and checkpointer threads, shown, scored again and exported. `python -m training.replay`."""
