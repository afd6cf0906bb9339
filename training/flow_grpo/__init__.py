"""Flow-GRPO: settings, the parts of a run, its steps and its trainer. `python -m training.flow_grpo`."""
