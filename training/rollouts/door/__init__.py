"""Agents in any framework or language, through an OpenAI-compatible server in the trainer.

agent.py        a command or a service as an `Agent`
server.py       the server: URLs, keys, endpoints
session.py      one rollout behind it
requests.py     parsing of requests
responses.py    completions, streams and errors
command.py      a run of a command: environment, time limit, end
service.py      a run at a service
answer.py       parsing of an agent's output
"""
