"""Settings that cannot be: a name that is misspelt, an approval for a tool that is not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graph import Context, build_graph
from graph.errors import ConfigError
from tests.graph.conftest import Serve, double_tool


def test_a_misspelt_setting_is_answered_with_the_nearest(serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"There is no setting `max_turn`\. Did you mean max_turns\?"):
        Context(max_turn=3)  # type: ignore[call-arg]
    graph = build_graph(tools=[double_tool])
    with pytest.raises(ConfigError, match="Did you mean ask_before"):
        graph.invoke({"question": "q"}, context={"ask_befor": ["double"]})  # type: ignore[arg-type]
    assert replace(Context(max_turns=3), max_turns=4).max_turns == 4


@pytest.mark.parametrize(
    ("setting", "is_small", "chat", "analyses"),
    [
        (None, False, False, True),
        (None, True, False, False),
        (None, True, True, True),
        (False, False, True, False),
        (True, True, False, True),
    ],
)
def test_whether_a_question_is_analysed(setting: bool | None, is_small: bool, chat: bool, analyses: bool) -> None:
    assert Context(analyse=setting).analyses(is_small=is_small, chat=chat) == analyses


@pytest.mark.parametrize(("own", "words"), [({"seconds_left": 5}, "max_seconds"), ({"models": ["m"]}, "`models`")])
async def test_what_a_caller_configures_wrongly_is_told(serve: Serve, own: dict[str, Any], words: str) -> None:
    graph = build_graph(tools=[double_tool], models=serve().spec)
    with pytest.raises(ConfigError, match=words):
        await graph.ainvoke({"question": "q"}, {"configurable": own})


async def test_approval_is_asked_for_tools_that_are_there(serve: Serve) -> None:
    server = serve()
    graph = build_graph(tools=[double_tool])
    context = Context(model=server.spec, ask_before=("duoble",))
    with pytest.raises(ConfigError, match=r"'duoble', which is no tool of this run\. Did you mean double\?"):
        await graph.ainvoke({"question": "q"}, context=context)
    assert not server.requests, "no model is asked before that is told"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_turns": "3"}, "`max_turns` is '3'; it has to be a whole number."),
        ({"tools": ["python", 5]}, "`tools.1` is 5; it has to be a text."),
        ({"verify": "perhaps"}, "`verify` is 'perhaps'; it has to be 'model' or 'rules'."),
    ],
)
def test_a_bad_value_is_told_with_what_it_has_to_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Context(**settings)
    assert str(caught.value) == f"The setting {words}"
