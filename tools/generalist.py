"""`generalist`: a model's own knowledge and reasoning, as a tool (AgentFlow's base generator)."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.card import Example, ToolCard
from tools.passages import RESULT_CHARS
from tools.text import Text

_INSTRUCTION = (
    "Answer the question from general knowledge, in a few sentences, the answer first. "
    "If you are not sure, say so and say what would have to be looked up."
)


class GeneralistArguments(BaseModel):
    """Arguments of `generalist`."""

    question: Text = Field(description="A complete question that can be understood on its own.")


_CARD = ToolCard(
    input="a complete question that can be understood on its own",
    examples=(
        Example(
            question="What is a palindrome?",
            reason="It is common knowledge.",
            context="palindrome",
            sub_goal="Explain what a palindrome is",
            input="What is a palindrome?",
        ),
    ),
    limitations=("May be wrong on dates, numbers and rare names; cannot look anything up.",),
    best_practices=("Use it for explanations and common knowledge; check facts with a search.",),
    asks_role="generalist",
)


def _answer(reply: BaseMessage, read: Callable[[str], str], max_chars: int) -> str:
    text = read(str(reply.text))
    if not text:
        raise ToolException("The model gave no answer. Ask a simpler question or use another tool.")
    return text if len(text) <= max_chars else text[: max_chars - 2].rpartition(" ")[0] + " …"


def make_generalist(
    model: BaseChatModel,
    *,
    read: Callable[[str], str] = str.strip,
    max_chars: int = RESULT_CHARS,
    time_limit: float = 60.0,
) -> BaseTool:
    """A tool that asks `model`.

    Errors of the model itself are not wrapped: they are the model's, and the caller classifies them.

    Args:
        model: The chat model that answers.
        read: What of a reply's text is the answer: a model may have thought first.
        max_chars: Characters of an answer.
        time_limit: Seconds a call may take; enforced by the caller.
    """

    def prompt(question: str) -> list[BaseMessage]:
        return [SystemMessage(_INSTRUCTION), HumanMessage(question)]

    def ask(question: str) -> str:
        return _answer(model.invoke(prompt(question)), read, max_chars)

    async def aask(question: str) -> str:
        return _answer(await model.ainvoke(prompt(question)), read, max_chars)

    return StructuredTool.from_function(
        ask,
        coroutine=aask,
        name="generalist",
        description="Answers a question from a language model's general knowledge and reasoning.",
        args_schema=GeneralistArguments,
        metadata={"card": _CARD, "time_limit": time_limit},
    )
