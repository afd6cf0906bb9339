"""The agent at a real terminal (a pseudo-terminal) and in pipes, as people and scripts use it."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from langchain_core.messages import AIMessageChunk

from evals.speed.fake_server import ChatReply, FakeModelServer
from graph import Context
from graph.__main__ import main
from graph.state import State
from graph.terminal.activity import WAITING
from graph.terminal.ask import Thread
from graph.terminal.human import Human
from graph.terminal.view import PlainView, View
from graph.words import unsupported_words
from tests.graph.conftest import plan_text, verdict_text

Serve = Callable[..., FakeModelServer]
Run = Callable[..., tuple[int, str, str]]
TOOL = "tests.graph.conftest:double_tool"
ROOT = Path(__file__).parents[2]


def command(server: FakeModelServer, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "graph", *arguments, "--model", server.spec, "--tools", TOOL]


class Terminal:
    """A program that believes to be in a terminal; what it writes is collected as it comes."""

    def __init__(self, words: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            words, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(slave)
        self._seen = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self._seen += data.decode("utf-8", "replace")
        except OSError:
            return  # the program has ended

    @property
    def text(self) -> str:
        """All that was written, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen).replace("\r", "")

    def until(self, words: str, times: int = 1) -> None:
        """Wait until some words were written so often."""
        end = time.monotonic() + 60
        while self.text.count(words) < times:
            assert time.monotonic() < end, f"{words!r} never came:\n{self.text}"
            assert self.process.poll() is None or self.text.count(words) >= times, f"ended:\n{self.text}"
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """The exit code."""
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        os.close(self._master)
        return code


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as stack:

        def start(server: FakeModelServer, *arguments: str) -> Terminal:
            started = Terminal(command(server, *arguments))
            stack.callback(started.process.kill)
            return started

        yield start


def test_words_are_shown_while_they_come(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    gate = threading.Event()
    server = serve(planner=ChatReply(plan_text("double", "double 21"), pace=0.1), verifier=lambda _: _after(gate))
    shown = terminal(server, "What is twice 21?")
    shown.until("Justification: it")
    assert "turn 1" not in shown.text, "the step is not there yet, its first words are"
    shown.until("verifier")
    gate.set()
    assert shown.end() == 0
    assert re.search(r"planner +writing, \d+ tokens, \d+ s", shown.text)
    assert "╭─ answer" in shown.text


def _after(gate: threading.Event) -> ChatReply:
    gate.wait(30)
    return ChatReply(verdict_text())


def test_nothing_moves_over_what_a_human_types(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(serve(planner=plan_text("double", "double 21")), "q", "--ask-before", "double", "--max-turns", "1")
    shown.until("Call it? y or n, or say why not: ")
    asked = shown.text
    time.sleep(0.5)
    assert shown.text == asked, "the spinner must stand still"
    shown.type("y\n")
    assert shown.end() == 0
    assert re.search(r"executor +\{\"number\": 21\}", shown.text)
    assert "accepted, stop" in shown.text


def test_brackets_are_no_markup_and_control_codes_no_commands(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    reason = "[y] and [bold]this[/bold] \x1b]0;title\x07"
    shown = terminal(serve(verifier=verdict_text(reason=reason)), "q")
    assert shown.end() == 0
    assert "[y] and [bold]this[/bold] \N{REPLACEMENT CHARACTER}]0;title" in shown.text


def test_a_chat_knows_what_was_said_and_ctrl_c_stops_a_turn(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    slow = ChatReply(plan_text("double"), delay=60)
    server = serve(planner=[slow, plan_text("double"), plan_text("double")])
    chat = terminal(server, "--chat")
    chat.until("> ")
    chat.type("What is twice 21?\n")
    while not server.asked("planner"):
        time.sleep(0.05)
    chat.type("\x03")
    chat.until("Stopped.")
    chat.type("And twice 22?\n")
    chat.until("1 turn, ")
    chat.type("And twice 23?\n")
    chat.until("1 turn, ", times=2)
    chat.type("/nwe\n")
    chat.until("Did you mean /new?")
    chat.type("/new\n")
    chat.until("A new conversation.")
    chat.type("And twice 24?\n")
    chat.until("1 turn, ", times=3)
    chat.type("\x04")
    assert chat.end() == 0
    third, fourth = [str(request.messages[-1]["content"]) for request in server.asked("analyst")][-2:]
    assert "User: What is twice 21?\nUser: And twice 22?\nAssistant: 42" in third
    assert "And twice 23?" not in fourth


def test_two_ctrl_c_at_the_prompt_end_the_chat(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    chat = terminal(serve(), "--chat")
    chat.until("> ")
    time.sleep(0.2)
    for times in (1, 2):
        chat.type("\x03")
        chat.until("Press Ctrl-C again, or Ctrl-D, to end the chat.", times)
        time.sleep(0.2)
        if times == 1:
            chat.type("/new\n")
            chat.until("A new conversation.")
            time.sleep(0.2)
    chat.type("\x03")
    assert chat.end() == 130


def test_a_second_ctrl_c_ends_the_program(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    server = serve(planner=ChatReply(plan_text("double"), delay=60), generator=ChatReply("Answer: 1", delay=60))
    shown = terminal(server, "q")
    for role in ("planner", "generator"):
        end = time.monotonic() + 60
        while not server.asked(role):
            assert time.monotonic() < end
            time.sleep(0.05)
        shown.type("\x03")
    assert shown.end() == 130
    assert "Interrupted: answering from what is known so far" in shown.text


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command without a terminal; standard input holds a text and then ends."""

    def start(server: FakeModelServer, *arguments: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        tools = () if "direct" in arguments else ("--tools", TOOL)
        code = main([*arguments, "--model", server.spec, *tools])
        return code, *capsys.readouterr()

    return start


def test_a_pipe_gets_the_answer_alone(serve: Serve, run: Run) -> None:
    server = serve()
    code, out, err = run(server, given="What is twice 21?\n")
    assert (code, out) == (0, "42\n")
    assert "accepted, stop" in err
    assert "\x1b" not in err
    assert "What is twice 21?" in str(server.asked("analyst")[0].messages)
    assert run(server, "q", "--quiet")[1:] == ("42\n", "")


def test_a_log_is_told_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.terminal.view.LOG_FIRST", 0.0)
    monkeypatch.setattr("sys.stderr", log := io.StringIO())
    with PlainView() as view:
        view.begin("planner")
        view.progress(384, 1120, "tokens")
        end = time.monotonic() + 60
        while "\n" not in log.getvalue():
            assert time.monotonic() < end
            time.sleep(0.02)
    assert re.match(r"planner   reading the prompt, 384 of 1,120 tokens, \d+ s\n", log.getvalue())


def test_after_the_analysis_the_planner_is_waited_for() -> None:
    view = View()
    view.begin("analyst")
    view.hear("analyst", AIMessageChunk("A number.", id="1"))
    assert (view.activity.who, view.activity.words) == ("analyst", "writing")
    view.hear("analyst", AIMessageChunk("", id="1", response_metadata={"finish_reason": "stop"}))
    view.hear(
        "analyst",
        AIMessageChunk("", id="1", usage_metadata={"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}),
    )
    view.progress(128, 673, "tokens")
    assert view.activity.who == "planner"
    assert view.activity.line().startswith("reading the prompt, 128 of 673 tokens, ")


@pytest.mark.parametrize(("analyse", "first"), [(None, "analyst"), (True, "analyst"), (False, "planner")])
async def test_who_works_first_is_shown_before_it_writes(serve: Serve, analyse: bool | None, first: str) -> None:
    begun: list[str] = []

    class Shown(View):
        def begin(self, who: str, words: str = WAITING) -> None:
            super().begin(who, words)
            begun.append(who)

    context = Context(model=serve().spec, tools=(TOOL,), analyse=analyse)
    await Thread(context, Shown(), Human()).answer("What is twice 21?")
    assert next(filter(None, begun)) == first


def test_a_closed_pipe_ends_quietly(serve: Serve) -> None:
    server = serve()
    words = command(server, "q", "--json")
    program = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == b""
    assert program.wait(timeout=60) == 141
    program.stderr.close()


def test_nobody_to_ask_is_told_once(serve: Serve, run: Run) -> None:
    code, out, err = run(serve(), "q", "--ask-before", "double")
    assert (code, out) == (2, "")
    assert err.count("Call it?") == 1
    assert err.splitlines()[-1].startswith("error: Somebody must answer, but standard input is at its end")


@pytest.mark.parametrize(("typed", "reason"), [("n", ""), ("", ""), ("no", ""), ("too dear", ": too dear")])
def test_n_is_no_reason(serve: Serve, run: Run, typed: str, reason: str) -> None:
    options = ("--json", "--ask-before", "double", "--max-turns", "1")
    code, out, _ = run(serve(), "q", *options, given=f"{typed}\n")
    error = json.loads(out)["memory"][0]["calls"][0]["error"]["message"]
    assert (code, error) == (0, f"a human refused the call{reason}")


def test_a_piped_chat_answers_line_by_line(serve: Serve, run: Run) -> None:
    server = serve()
    answered = run(server, "--chat", "--quiet", given="What is twice 21?\n\nAnd once more?\n")
    assert answered == (0, "42\n42\n", "")
    assert "Assistant: 42" in str(server.asked("analyst")[1].messages)


def test_a_log_of_a_piped_chat_holds_the_questions(serve: Serve, run: Run) -> None:
    code, out, err = run(serve(), "--chat", given="What is twice 21?\nAnd once more?\n")
    assert (code, out) == (0, "42\n42\n")
    first, second = (err.index(f"> {question}\n") for question in ("What is twice 21?", "And once more?"))
    assert first < err.index("accepted, stop") < second


def test_a_chat_outlives_a_turn_that_fails(serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = json.dumps({"error": {"message": "no such key: sk-verysecret-0123456789 at http://me:pass@host/v1?k=1"}})
    monkeypatch.setenv("SERVICE_API_KEY", "sk-verysecret-0123456789")
    server = serve(analyst=[ChatReply("", status=400, raw=refusal.encode()), "A number."])
    code, out, err = run(server, "--chat", "--quiet", given="one\ntwo\n")
    assert (code, out) == (0, "42\n")
    assert err.startswith("error: The model server")
    assert err.count("\n") == 1
    assert "no such key: [key] at http://host/v1" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["q", "--ask-before", "duoble"], "Did you mean double?"),
        (["--chat", "q"], "leave out question"),
        (["--chat", "--json"], "leave out --json"),
        (["--chat", "--mode", "direct"], "leave out --mode direct"),
        (
            ["q", "--mode", "direct", "--tools", "nonsense", "--mcp", "nofile.json", "--report"],
            "--tools, --mcp, --report need the agent: leave them out, or leave out --mode direct.",
        ),
        (["q", "--mode", "direct", "--verify", "rules"], "--verify needs the agent: leave it out"),
        (["What", "is", "it?"], "needs quotes"),
        (["q", "--tolls", "x"], "Did you mean --tools?"),
    ],
)
def test_a_mistake_is_one_line(serve: Serve, run: Run, arguments: list[str], words: str) -> None:
    server = serve()
    code, out, err = run(server, *arguments, "-q")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not server.requests


@pytest.mark.parametrize(("ended", "cure"), [("time", "--max-seconds"), ("turns", "--max-turns"), ("stuck", "")])
def test_an_answer_without_an_accepted_result_is_called_a_guess(ended: str, cure: str) -> None:
    guess = unsupported_words(State(answer="1830", memory=[], ended_by=ended))
    assert "take it as a guess" in guess
    assert re.findall(r"--[a-z-]+", guess) == ([cure] if cure else [])
    silent = unsupported_words(State(answer="", memory=[], ended_by=ended))
    assert "guess" not in silent
    assert re.findall(r"--[a-z-]+", silent) == ([cure] if cure else [])


def test_the_user_is_told_of_a_guess(serve: Serve, run: Run) -> None:
    refused = serve(verifier=verdict_text("reject", "continue"))
    code, out, err = run(refused, "q", "--max-turns", "1")
    assert (code, out) == (0, "42\n")
    assert err.splitlines()[-1].strip().startswith("No accepted result supports this answer")
    assert "No accepted result" not in run(serve(), "q")[2]
    assert "No accepted result" not in run(serve(), "q", "--mode", "direct")[2]
