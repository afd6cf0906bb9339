"""What an update costs, beside TRL's: `python -m training.speed`.

benchmark.py   runs the benchmark
workload.py    the step that is measured, and the options
variants.py    the ways to compute its gradient
phases.py      a whole step by phase
clock.py       clocks and memory
table.py       the report as text
"""
