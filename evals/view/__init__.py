"""See what an agent did and what training changed: one page for runs, evaluations and training.

    python -m evals view PATH...                     # opens a local page
    python -m evals view PATH... --export FILE.html  # writes one file that needs nothing else

A PATH is a file that `python -m graph --save` wrote, a folder of `python -m evals run`, a folder of
`python -m training.flow_grpo`, or a folder that holds some of these. The files are read by their schema, so that
nothing of `training` or torch is imported, and they may still be growing.

How it stays fast: `index` reads each line once, keeps a short row and the place of the line, and puts the searchable
text into a temporary file. A run's details are read when it is opened. The page holds the rows alone.

What is shown was written by models and tools, so it is hostile: the page makes text nodes only, never markup, and its
policy forbids foreign scripts and requests.
"""
