"""The supervised baseline, on the planner turns of successful rollouts: `python -m training.sft`.

config.py     settings
examples.py   successful rollouts become transcripts, and transcripts updates
train.py      runs the training that settings describe
trainer.py    the update, on transformers' trainer
"""
