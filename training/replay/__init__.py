"""Stored rollouts shown, scored again and exported; threads of an app as rollouts: `python -m training.replay`.

samples.py   turns as samples, with text and credit
threads.py   threads of a LangGraph checkpointer become rollouts
"""
