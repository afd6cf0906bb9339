"""A run on disk, and what every command shares. Knows no algorithm, model or agent.

command.py       settings as options, errors of one line, exit codes
settings.py      dataclasses of settings: types, YAML, help
folder.py        a run's folder: settings, lock, names
checkpoints.py   atomic checkpoints
trainer.py       atomic checkpoints and metrics for transformers' trainers
imports.py       the user's own objects, by import path
metrics.py       `metrics.jsonl`
heartbeat.py     a line now and then in a silent log
alarms.py        signs of collapse
ranks.py         the processes of a run
limits.py        what the system allows this process
keeper.py        ends what a run has started when the run is gone
"""
