"""Single model calls outside a run: the bare model, for comparison, and an analysis shared by several runs."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from graph.context import Context
from graph.models.calling import cost_of, replies_of
from graph.models.roles import model_for
from graph.parsing import parse_answer, without_thinking
from graph.prompts import analyst_messages, direct_messages
from graph.state import State, Usage, add_usage
from graph.trace import note_reply
from tools.text import well_formed


async def answer_directly(question: str, context: Context | None = None, config: RunnableConfig | None = None) -> State:
    """Let the generator's model answer a question by itself.

    Returns:
        A state like that of a run, with question, answer, messages and usage.

    Raises:
        ModelError: the model did not answer.
    """
    question = well_formed(question)
    model = model_for("generator", context or Context(), {})
    messages = direct_messages(question)
    usage: dict[str, Usage] = {}
    async for reply, began in replies_of(model, messages, config or {}):
        note_reply("generator", 0, messages, reply, began)
        usage = add_usage(usage, {"generator": cost_of(reply, began)})
    answer = parse_answer(str(reply.text))
    return State(
        question=question,
        memory=[],
        answer=answer,
        messages=[HumanMessage(question), AIMessage(answer)],
        usage=usage,
        seconds=usage["generator"]["seconds"],
    )


async def analyse(
    question: str,
    context: Context,
    models: Mapping[str, BaseChatModel | str] | None = None,
    config: RunnableConfig | None = None,
) -> str:
    """Analyse a question once for several runs.

    Args:
        question: The question.
        context: The settings of the runs.
        models: The models of their graph, as for `build_graph`.
        config: Seed and callbacks.

    Returns:
        A value for the runs' `analysis`.

    Raises:
        ModelError: the analyst did not answer.
    """
    model = model_for("analyst", context, models or {})
    messages = analyst_messages(well_formed(question), "")
    async for reply, began in replies_of(model, messages, config or {}):
        note_reply("analyst", 0, messages, reply, began)
    return without_thinking(str(reply.text))
