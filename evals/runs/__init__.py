"""Running an evaluation.

session    from checked options to results
answerers  what is evaluated: the agent, or the bare model
runner     asks all questions concurrently
failures   classification of runs that raise
judge      a second opinion by a language model
leakage    detects benchmarks found by search
sweep      a benchmark at several turn limits
"""
