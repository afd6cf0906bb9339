"""The supervised baseline, on the planner turns of successful rollouts: `python -m training.sft`.

config.py     settings
examples.py   rollouts become transcripts with labels
train.py      runs the training that settings describe
trainer.py    TRL's trainer with this project's run folder
"""
