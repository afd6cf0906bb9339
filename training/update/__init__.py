"""From rollouts to a gradient: rows, packing by prefix tree, attention, log-probabilities, accumulation."""
