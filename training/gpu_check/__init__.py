"""Everything that a GPU has to show, measured by one command. `python -m training.gpu_check`.

parts      what is run, each part a command with a time limit of its own
rates      an engine's tokens a second at 16, 64 and 256 runs
kernels    one packed gradient's time by kind of kernel
table      the report as Markdown
tiny       a policy of a few thousand weights, for dry runs
"""
