"""A door for agents in any framework or language: an OpenAI-compatible server in the trainer.

agent.py        a program or a service as an `Agent`
server.py       the server: addresses, keys, what is served and what is refused
session.py      one rollout behind it
requests.py     requests, read
responses.py    completions, streams and errors, written
command.py      a run's program: its environment, its time, its end
service.py      a run at a service
answer.py       what a program or service has answered
"""
