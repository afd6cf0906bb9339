"""Memory, tokens and seconds of a run before it is begun: `python -m training.plan`.

estimate.py   the plan, from settings, shape and rates
seconds.py    tokens and seconds of a step by phase
"""
