"""Checks that need no model: of arguments before a call, of a step after it, of an answer, and of a verdict."""
