"""One page for looking at runs, evaluations and training.

    python -m evals view PATH...                     # opens a local page
    python -m evals view PATH... --export FILE.html  # writes a self-contained file

A PATH is a file saved by `python -m graph --save`, a folder of `python -m evals run` or `python -m
training.flow_grpo`, or a folder that contains some of these. Files are read by their schema, so neither `training`
nor torch is imported, and they may still be growing.

To stay fast, `index` reads each line once, keeps a short row and the position of the line, and writes the searchable
text to a temporary file. The details of a run are read when it is opened; the page itself only holds the rows.

All content was written by models and tools and may be hostile: the page creates only text nodes, never markup, and its
policy forbids foreign scripts and requests.
"""
