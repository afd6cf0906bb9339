"""The agent at a terminal: what `python -m graph` reads and shows.

options.py    the command line, and the settings that it makes
ask.py        one thread of the agent: a question, or the questions of a chat
chat.py       the loop of a chat
human.py      approvals: what a human is asked and answers
activity.py   what goes on right now, in one line
view.py       what is shown of a run: in a terminal, in a log, or not at all
steps.py      a step as labelled lines
text.py       texts of models and tools made fit for a terminal
document.py   the JSON of `--json` and `--save`
"""
