"""Figures, intervals, comparisons and reports of finished evaluations."""
