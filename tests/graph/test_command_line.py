"""Mistakes on a command line, closed pipes and exit codes, as every command of the project has them."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from graph.command_line import CommandLine, between, did_you_mean, exit_code
from graph.errors import ConfigError

ROOT = Path(__file__).parents[2]


def parser() -> CommandLine:
    top = CommandLine(prog="try")
    top.add_argument("question")
    top.add_argument("--model")
    top.add_argument("--max-turns", type=int)
    top.add_argument("--max-seconds", type=float)
    top.add_argument("--samples", type=between(int, 1, 10_000))
    top.add_argument("--share", type=between(float, 0, 1))
    top.add_argument("--verify", choices=("model", "rules"))
    return top


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["q", "--modle", "x"], "There is no option --modle. Did you mean --model?"),
        (["--modle=x"], "There is no option --modle. Did you mean --model?"),
        (["q", "--max-turn", "3"], "Did you mean --max-turns?"),
        (["q", "--xyzzy"], "There is no option --xyzzy. `try --help`"),
        (["q", "--max-turns", "abc"], "--max-turns is 'abc'; give a whole number."),
        (["q", "--max-seconds", "long"], "--max-seconds is 'long'; give a number."),
        (["q", "--samples", "0"], "--samples is 0; it must be at least 1."),
        (["q", "--samples", "1000000000"], "--samples is 1000000000; it must be at most 10,000."),
        (["q", "--samples", "many"], "--samples is 'many'; give a whole number."),
        (["q", "--share", "-1"], "--share is -1; it must be at least 0."),
        (["q", "--share", "1.5"], "--share is 1.5; it must be at most 1."),
        (["q", "--share", "nan"], "--share is nan; it must be a number."),
        (["q", "--verify", "modle"], "--verify is 'modle'; choose from model, rules. Did you mean model?"),
        (["q", "--model"], "--model: expected one argument (`try --help`"),
        (["What", "is", "it?"], "too much on the command line: is it?"),
        ([], "question"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parser().parse_args(words)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_follows_two_dashes_is_no_option() -> None:
    assert parser().parse_args(["--", "--modle"]).question == "--modle"


def test_a_command_knows_its_own_options() -> None:
    top = CommandLine(prog="try")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("run").add_argument("--limit", type=int)
    assert top.parse_args(["run", "--limit", "3"]).limit == 3
    with pytest.raises(ConfigError, match=r"no option --limt. Did you mean --limit\? `try run --help`"):
        top.parse_args(["run", "--limt", "3"])
    with pytest.raises(ConfigError, match=r"no command 'rum'; choose from run\. Did you mean run\?"):
        top.parse_args(["rum"])
    commands.add_parser("report")
    with pytest.raises(ConfigError, match=r"Name a command: run, report \(`try --help` explains them\)\."):
        top.parse_args([])


def test_no_suggestion_is_better_than_a_far_one() -> None:
    assert did_you_mean("--zebra", ["--model", "--tools"]) == ""


def test_an_interrupt_has_its_own_exit_code() -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
            "x cannot be used: No such file or directory.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The disk is full. Free some space and run the same command",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            "The disk is full: x cannot be written. Free some space",
        ),
        (ConfigError("No server at https://me:secret@host/v1."), "No server at https://host/v1."),
    ],
)
def test_a_mistake_ends_with_a_sentence(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> int:
        raise error

    assert exit_code(failing) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {line}")
    assert shown.count("\n") == 1


def test_a_pipe_of_ours_that_breaks_is_a_defect_and_not_silent() -> None:
    def broken() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        exit_code(broken)


def test_a_reader_that_leaves_is_no_error() -> None:
    script = "from graph.command_line import exit_code\nimport sys\n" + (
        "def work():\n    for n in range(10**6): print('line', n)\n    return 0\nsys.exit(exit_code(work))"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "line 0\n"
    writer.stdout.close()
    assert writer.wait(timeout=60) == 141
    assert writer.stderr is not None
    assert writer.stderr.read() == ""
    writer.stderr.close()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_has_closed_lead_nowhere(closed: str, tmp_path: Path) -> None:
    script = (
        "from graph.command_line import exit_code\nimport sys, pathlib\n"
        "def work():\n    file = open(sys.argv[1], 'w')\n    print('lost', sys.stdin.isatty())\n"
        "    sys.stderr.write('lost')\n    file.write('kept')\n    return 0\nsys.exit(exit_code(work))"
    )
    command = ["sh", "-c", f'"$0" -c "$1" "$2" {closed}', sys.executable, script, str(tmp_path / "file")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "file").read_text() == "kept"
