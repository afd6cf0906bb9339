"""Stored rollouts shown, scored again and exported; threads of an app as rollouts: `python -m training.replay`.

threads.py   threads of a LangGraph checkpointer become rollouts
"""
