"""Runs of the agent: from tasks to rewarded records.

Tasks and rewards
    tasks.py                where tasks come from
    schedule.py             which of them a step gets
    rewards.py              what a run earns

Running the agent
    agents.py               what training knows of an agent; our graph as one
    factory.py              somebody else's graph as one: a function from chat models to a graph
    graph_run.py            one run of such a graph: time, interrupts, failures
    run_record.py           what its callbacks tell: tool calls, costs, the run's memory
    door/                   somebody else's program or service as one, over HTTP
    collector.py            G runs of each task, with tries and typed failures
    runs.py                 a step's runs and groups while they are under way
    tail.py                 what is done with a step's stragglers
    time_spent.py           where the time of rollouts went
    pool.py                 several processes for rollouts, where one event loop would be the limit
    worker.py               the program of such a process
    channel.py              messages between it and the trainer
    background.py           rollouts on a thread of their own, beside updates
    archive.py              stored rollouts in place of new ones

The policy inside a run
    policy.py               a conversation goes in, a message comes out, tokens are recorded
    policy_chat.py          the policy as a LangChain chat model
    langchain_messages.py   LangChain's messages as the policy's, and back
    conversation.py         messages, tool calls and tools as plain values
    places.py               where in a run a call stands
    chat_template.py        conversations as text and tokens
    chat_tokens.py          transcripts built token by token
    replies.py              thinking, content and tool calls of a reply
    tool_calls.py           the forgiving reading of tool calls

Records
    records.py              PlannerTurn, Rollout, Group
    store.py                rollouts on disk
    figures.py              the figures of a step's rollouts
    breakdown.py            what a pass rate is made of
"""
