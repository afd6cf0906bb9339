"""A policy on held-out tasks: `python -m training.validate`.

measure.py   runs the tasks, and sums up
compare.py   two measurements, task by task
sweep.py     measurements at several turn limits
"""
