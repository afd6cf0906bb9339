"""How every command of training ends, and how it reads settings."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from graph.errors import ConfigError, DataError
from training.flow_grpo.config import FlowGRPOConfig
from training.run.command import FROM_CHECKPOINT, run, settings_line
from training.run.settings import load_settings, marked

ROOT = Path(__file__).parents[3]


def failing(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("There is no file."), 2, "error: There is no file.\n"),
        (OSError(errno.ENOENT, "No such file or directory", "x"), 2, "error: x cannot be used: No such file or "),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: The disk is full. Free some space"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: There is not enough memory for this"),
        (ModuleNotFoundError(name="torch.nn"), 2, "error: This needs the package torch, which is not installed; `pip"),
        (MemoryError(), 2, "error: There is not enough memory for this model"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues"),
        (ConfigError("No server at https://me:secret@host/v1."), 2, "error: No server at https://host/v1.\n"),
    ],
)
def test_a_command_ends_with_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), interrupted=FROM_CHECKPOINT) == code
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("training.flow_grpo --config training/recipes/cpu.yaml --out {out} --model {model}", "torch"),
        ("training.validate --config training/recipes/cpu.yaml --out {out} --model {model}", "torch"),
        ("training.gpu_check --out {out}", "torch"),
    ],
)
def test_what_make_demo_leaves_out_is_named(command: str, package: str, tmp_path: Path) -> None:
    """The first two commands of README set up an environment without what training needs."""
    absent = "torch jinja2 transformers peft trl"
    start = f"import runpy, sys; [sys.modules.__setitem__(name, None) for name in '{absent}'.split()]; sys.argv.pop(0)"
    arguments = command.format(out=tmp_path / "run", model=tmp_path).split()
    ended = subprocess.run(
        [sys.executable, "-c", f"{start}; runpy.run_module(sys.argv[0], run_name='__main__')", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"error: This needs the package {package}, which is not installed;")


def test_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AGENTFLOW_API_KEY", "sk-12345678")
    assert run(failing(OSError(errno.EIO, "refused", "sk-12345678.json"))) == 2
    assert capsys.readouterr().err == "error: [key].json cannot be used: refused.\n"


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--learning-rate", "1e-5"], {"learning_rate": 1e-5}),
        (["--learning_rate=1e-5"], {"learning_rate": 1e-5}),
        (["--steps", "3", "--steps", "4"], {"steps": 4}),
        (["--tools", "a,b"], {"tools": ("a", "b")}),
        (["--tools", "[a, b]"], {"tools": ("a", "b")}),
        (["--clip_low", "null"], {"clip_low": None}),
        (["--reward", "judge:"], {"reward": "judge:"}),
        (["--analyse", "false"], {"analyse": False}),
        (["--analyse", "off", "--packing", "off"], {"analyse": False, "packing": "off"}),
        (["--checks", "on"], {"checks": "on"}),
        (["--agent_model", "2026-11-27"], {"agent_model": "2026-11-27"}),
        (["--agent_model", "1e3"], {"agent_model": "1e3"}),
        (["--agent_model", "on"], {"agent_model": "on"}),
        (["--agent_model", "2024-13-45"], {"agent_model": "2024-13-45"}),
        (["--agent_model", "null"], {"agent_model": None}),
    ],
)
def test_settings_are_options(words: list[str], values: dict[str, object]) -> None:
    line = settings_line("try", "", FlowGRPOConfig, {})
    options = line.parse_args([*words, "--model", "m", "--out", "o", "--tasks", "t"])
    config = load_settings(FlowGRPOConfig, options.config, options.settings)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize("text", ["2026-11-27", "1e3", "on", "007", "0x10", "plain", "12:30"])
def test_a_text_stays_as_it_is_written_in_a_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"model: m\nout: {text}  # a comment\nagent_model: null\ntasks: t\nsteps: 3\n")
    config = load_settings(FlowGRPOConfig, path, {})
    assert (config.out, config.agent_model, config.steps) == (text, None, 3)


@pytest.mark.parametrize("text", ["out: 2024-13-45", "[" * 3000, "steps: " + "9" * 5000])
def test_what_is_no_yaml_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not YAML"):
        load_settings(FlowGRPOConfig, path, {})


def test_a_setting_that_stands_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("model: m\nout: o\ntasks: t\nlearning_rate: 1e-4\nsteps: 3\nlearning-rate: 1e-5\n")
    with pytest.raises(ConfigError, match="`learning_rate` in line 4 and in 6"):
        load_settings(FlowGRPOConfig, path, {})


def test_what_a_command_has_noted_beside_its_settings_is_none(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: m\nout: o\ntasks: t\ncommand: training.validate\ncheckpoint: c\nsamples: 4\n")
    assert load_settings(FlowGRPOConfig, path, {"steps": 3}).steps == 3
    path.write_text("model: m\nout: o\ntasks: t\ncheckpoint: c\n")
    with pytest.raises(ConfigError, match="no setting 'checkpoint'"):
        load_settings(FlowGRPOConfig, path, {})


def test_two_command_lines_do_not_share_their_settings() -> None:
    line = settings_line("try", "", FlowGRPOConfig, {})
    assert line.parse_args(["--steps", "3"]).settings == {"steps": 3}
    assert line.parse_args([]).settings == {}


def test_settings_and_options_are_suggested_alike() -> None:
    line = settings_line("try", "", FlowGRPOConfig, {})
    line.add_argument("--checkpoint")
    for typed, meant in (("--chekpoint", "--checkpoint"), ("--lerning_rate", "--learning_rate")):
        with pytest.raises(ConfigError, match=f"There is no option {typed}. Did you mean {meant}?"):
            line.parse_args([typed, "x"])


def test_marks_name_settings() -> None:
    assert {"steps", "token_budget"} <= marked(FlowGRPOConfig, "resumable")
    assert not {"seed", "model", "learning_rate"} & marked(FlowGRPOConfig, "resumable")
    assert marked(FlowGRPOConfig, "context") < marked(FlowGRPOConfig, "matters")


@pytest.mark.parametrize("command", ["flow_grpo", "sft", "validate", "export", "replay", "plan", "summary", "speed"])
def test_help_needs_no_torch(command: str) -> None:
    script = (
        f"import sys, runpy; sys.argv = ['x', '--help']\ntry:\n    runpy.run_module('training.{command}', "
        "run_name='__main__')\nexcept SystemExit as ended:\n    assert ended.code in (0, None)\n"
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("usage: ")
