"""Ask the agent a question from a terminal: `python -m graph "QUESTION"`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from graph.command_line import CommandLine, exit_code
from graph.errors import ConfigError
from graph.roles import MODULES, ROLES_WITH_SETTING

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from graph.console import RunView
    from graph.context import Context
    from graph.state import State
    from graph.trace import Trace

SCHEMA = 1
"""Version of the document that `--save` writes."""

SHOWN = ("question", "analysis", "memory", "answer", "report", "ended_by", "usage", "seconds")
"""The parts of the final state that `--json` and `--save` hold."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandLine(
        prog="python -m graph",
        description="Answer a question with the AgentFlow agent: planner, executor, verifier, generator.",
        epilog="Environment: AGENTFLOW_MODEL and AGENTFLOW_PLANNER_MODEL (and so on, by role) give default models, "
        "AGENTFLOW_TOOLS and AGENTFLOW_CORPUS default tools and corpus. An option always wins.",
    )
    parser.add_version()
    parser.add_argument("question", help="the question; '-' reads it from standard input")
    parser.add_argument("--model", metavar="SPEC", help="model of every role: embedded, embedded:0.5b, "
                        "./planner (a GGUF file or a folder with one), provider:model, "
                        "MODEL@http://host:port/v1, ollama:NAME")  # fmt: skip
    for role in ROLES_WITH_SETTING:
        parser.add_argument(f"--{role}-model", metavar="SPEC", help=f"model of the {role}, if another")
    parser.add_argument("--tools", metavar="A,B", help="tools by name or import path (package.module:attribute)")
    parser.add_argument("--corpus", metavar="PATH", help="JSONL file or folder of text that local_search searches")
    parser.add_argument("--mcp", metavar="FILE", help="JSON file that names MCP servers, whose tools are added")
    parser.add_argument("--ask-before", metavar="A,B", help="tools before whose calls you are asked")
    parser.add_argument("--max-turns", type=int, metavar="N")
    parser.add_argument("--max-seconds", type=float, metavar="S")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest reply of a model")
    parser.add_argument("--temperature", type=float, metavar="T")
    parser.add_argument("--planner-temperature", type=float, metavar="T")
    parser.add_argument("--no-analysis", action="store_true", help="skip the analysis of the question")
    parser.add_argument(
        "--direct-arguments", action="store_true", help="let the planner write the input of simple tools"
    )
    parser.add_argument("--verify", choices=("model", "rules"))
    parser.add_argument("--answer", choices=("model", "last_result"))
    parser.add_argument("--checks", choices=("auto", "on", "off"), help="hold replies to the checks for small models "
                        "(auto: those of embedded models)")  # fmt: skip
    parser.add_argument("--brief-verdicts", action="store_true", help="tell the planner of an accepted step no more "
                        "than that")  # fmt: skip
    parser.add_argument("--speculate", action="store_true", help="plan the next step while the last is judged: the "
                        "same answer, sooner with --brief-verdicts")  # fmt: skip
    parser.add_argument("--report", action="store_true", help="write a long report as well")
    parser.add_argument("--mode", choices=("agent", "direct"), default="agent", help="direct: the bare model, no tools")
    parser.add_argument(
        "--json", action="store_true", help="print the final state as one JSON document and nothing else"
    )
    parser.add_argument(
        "--save",
        metavar="FILE",
        type=Path,
        help="write the state and the prompts of every role to a JSON file, step by step; "
        "`python -m evals view FILE` shows it",
    )
    return parser.parse_args(argv)


def context_from(options: argparse.Namespace) -> Context:
    """The settings that the command line and the environment make."""
    from graph.context import Context

    def names(text: str | None) -> tuple[str, ...] | None:
        return tuple(name.strip() for name in text.split(",") if name.strip()) if text is not None else None

    given: dict[str, Any] = {
        "model": options.model,
        **{role: getattr(options, f"{role}_model") for role in ROLES_WITH_SETTING},
        "tools": names(options.tools or os.environ.get("AGENTFLOW_TOOLS")),
        "corpus": options.corpus or os.environ.get("AGENTFLOW_CORPUS"),
        "ask_before": names(options.ask_before),
        "max_turns": options.max_turns,
        "max_seconds": options.max_seconds,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "planner_temperature": options.planner_temperature,
        "direct_arguments": options.direct_arguments or None,
        "analyse": False if options.no_analysis else None,
        "verify": options.verify,
        "answer": options.answer,
        "checks": options.checks,
        "brief_verdicts": options.brief_verdicts or None,
        "speculate": options.speculate or None,
        "report": options.report or None,
    }
    return Context(**{name: value for name, value in given.items() if value is not None})


async def answer(options: argparse.Namespace) -> State:
    """Run what the options ask for and show it."""
    from rich.console import Console

    from graph.console import RunView

    question = sys.stdin.read() if options.question == "-" else options.question
    if not question.strip():
        raise ConfigError("The question is empty: write it as the first argument, in quotes.")
    context = context_from(options)
    await _ready(context)  # before anything is drawn: the first use of the embedded model downloads it
    console = Console()
    from graph.trace import traced

    with traced() as trace:
        if options.mode == "direct":
            from graph.direct import answer_directly

            state = await answer_directly(question, context)
            if not options.json:
                RunView(console).finish(state)
        else:
            tools = await _mcp_tools(options.mcp) if options.mcp else []
            with RunView(console) if not options.json else nullcontext() as view:
                state = await _run(question, context, tools, view, _keeper(options.save, trace))
                if view:
                    view.finish(state)
        if options.save:
            save(as_document(state, trace, finished=True), options.save)
    return state


def _keeper(path: Path | None, trace: Trace) -> Callable[[State], None] | None:
    """Writes the state of a run that goes on, for those who look on."""
    return (lambda state: save(as_document(state, trace, finished=False), path)) if path else None


async def _ready(context: Context) -> None:
    """Let the models be found or fetched now, so that a mistake is told at once.

    Raises:
        AgentFlowError: a model cannot be used.
    """
    from graph.models.roles import model_for
    from graph.models.spec import preflight

    models = {id(model): model for model in (model_for(role, context, {}) for role in ROLES_WITH_SETTING)}
    for model in models.values():
        await preflight(model)


async def _mcp_tools(path: str) -> list[BaseTool]:
    from tools.mcp import load_mcp_tools

    try:
        return await load_mcp_tools(Path(path))
    except ValueError as error:
        raise ConfigError(str(error)) from error


async def _run(
    question: str,
    context: Context,
    more_tools: list[BaseTool],
    view: RunView | None,
    keep: Callable[[State], None] | None,
) -> State:
    """One run of the graph; Ctrl-C ends it with an answer from what is known so far."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    from graph.build import answer_now, build_graph
    from graph.context import DEFAULT_TOOLS

    tools: list[BaseTool | str] | None = None
    if more_tools:
        local = ("local_search",) if context.corpus else ()
        tools = [*(context.tools or (*DEFAULT_TOOLS, *local)), *more_tools]
        context = _without_tools(context)
    graph = build_graph(tools=tools, checkpointer=InMemorySaver(), max_turns=context.max_turns)
    config: Any = {"configurable": {"thread_id": "terminal"}}
    given: Any = {"question": question}

    async def stream() -> None:
        nonlocal given
        while given is not None:
            coming: Command[str] | None = None
            async for mode, part in graph.astream(given, config, context=context, stream_mode=["updates", "values"]):
                if mode == "values":
                    if keep:
                        keep(cast("State", part))
                    continue
                for module, written in cast("dict[str, Any]", part).items():
                    if module == "__interrupt__":
                        coming = Command(resume=await asyncio.to_thread(_ask, written[0].value))
                    elif view and module in MODULES:
                        view.show(module, written or {})
            given = coming

    work = asyncio.ensure_future(stream())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends the program
        sys.stderr.write("\nInterrupted: answering from what is known so far (Ctrl-C again to quit).\n")
        known = cast("State", (await graph.aget_state(config)).values)
        return await answer_now({**known, "question": question}, context, tools=tools)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return cast("State", (await graph.aget_state(config)).values)


def _without_tools(context: Context) -> Context:
    from dataclasses import replace

    return replace(context, tools=None)


def _ask(request: dict[str, Any]) -> Any:
    """Ask the human at the terminal whether a call may be made."""
    sys.stderr.write(f"\n{request['tool']} is about to be called: {json.dumps(request['calls'], ensure_ascii=False)}\n")
    sys.stderr.write("Call it? [y]es, or a reason why not: ")
    sys.stderr.flush()
    said = sys.stdin.readline().strip()
    return True if said.lower() in ("y", "yes") else said or "no reason given"


def as_json(state: State) -> str:
    """The final state as a JSON document."""
    return json.dumps(_shown(state), ensure_ascii=False, indent=2)


def as_document(state: State, trace: Trace, *, finished: bool) -> str:
    """What `--save` writes: the state, and the trace of what the models were asked."""
    whole = {"schema": SCHEMA, "finished": finished, **_shown(state), "trace": trace.as_dict()}
    return json.dumps(whole, ensure_ascii=False, indent=2)


def _shown(state: State) -> dict[str, Any]:
    return {key: state[key] for key in SHOWN if key in state}  # type: ignore[literal-required]


def save(text: str, path: Path) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigError(
            f"The file {path} cannot be written ({error.strerror}): choose another for --save."
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: 0 after an answer, 2 for what the user can correct, 130 after a second Ctrl-C."""

    def work() -> int:
        options = arguments(argv)
        state = asyncio.run(answer(options))
        if options.json:
            print(as_json(state))
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
