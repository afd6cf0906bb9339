"""Everything that a GPU has to show, measured by one command. `python -m training.gpu_check`.

parts.py      what is run, each part a command with a share of the time
running.py    one part after the other, each within its limit; the report
rates.py      an engine's tokens a second at 16, 64 and 256 runs
kernels.py    one packed gradient's time by kind of kernel
table.py      the report as Markdown
tiny.py      a policy of a few thousand weights, for dry runs
"""
