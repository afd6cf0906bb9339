"""An agent that knows nothing of us: a question in, OpenAI's client, an answer out."""

import os

from openai import OpenAI

client = OpenAI()  # base URL and key are in the environment
reply = client.chat.completions.create(
    model=os.environ["OPENAI_MODEL"],
    messages=[{"role": "user", "content": os.environ["AGENTFLOW_QUESTION"]}],
)
print(reply.choices[0].message.content)  # noqa: T201
