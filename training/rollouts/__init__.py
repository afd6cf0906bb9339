"""Runs of the agent: from tasks to rewarded records."""
