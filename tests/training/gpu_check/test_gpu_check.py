"""The check of a GPU, dry on the CPU: every part runs, and one that fails or hangs stops no other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.support.vllm_standin import wait_until
from training.gpu_check.__main__ import main
from training.gpu_check.kernels import by_kind
from training.gpu_check.parts import Machine, Part, _last_json, parts_of
from training.gpu_check.running import run_parts
from training.gpu_check.table import table


@pytest.mark.timeout(900)
def test_every_part_runs_dry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = main(["--device", "cpu", "--model", "tiny", "--minutes", "14", "--out", str(tmp_path / "check")])
    shown = capsys.readouterr()
    report = json.loads((tmp_path / "check" / "report.json").read_text())
    states = {name: (part["state"], part["reason"]) for name, part in report["parts"].items()}
    assert {state for state, _ in states.values()} == {"done"}, states
    assert code == 0
    assert "(c)/(a)" in shown.out
    assert "256 runs" in shown.out
    assert "reward" in shown.out
    assert "logprob_gap" in shown.out, "something was updated"
    assert len(report["parts"]) == len(parts_of(Machine("cpu", "tiny", tmp_path)))


def test_a_part_that_fails_or_hangs_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = json.dumps({"16": {"tokens_per_second": 5, "step_ms": 3}})
    (tmp_path / "hangs.py").write_text(f"import time; print({rates!r}); print('torn', end=''); time.sleep(60)")
    (tmp_path / "fails.py").write_text("raise SystemExit('no kernel image is available')")
    (tmp_path / "strange.py").write_text("print('[1, 2]')")
    figures = {"seconds": 1, "first_seconds": 2, "peak_gib": 3, "milliseconds": {"attention": 2.5}}
    (tmp_path / "works.py").write_text(f"print({json.dumps({'flash': figures, 'flex': {'failed': 'no room'}})!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    parts = [
        Part("fails", ("fails",), 1.0),
        Part("falls back", ("works",), 1.0, instead_of="fails"),
        Part("hangs", ("hangs",), 0.2, read=_last_json),
        Part("strange", ("strange",), 1.0),
        Part("absent", (), 1.0, missing="there is no program 'vllm'"),
        Part("works", ("works",), 1.0),
        Part("is spare", ("fails",), 1.0, instead_of="works"),
        Part("trains", ("works",), 1.0, needs_model=True),
    ]
    told: list[str] = []
    report = run_parts(parts, Machine("cpu", None, tmp_path / "out"), 30.0, say=told.append)
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert states == {
        "fails": "failed", "falls back": "done", "hangs": "out of time", "strange": "failed", "absent": "left out",
        "works": "done", "is spare": "not needed", "trains": "left out",
    }  # fmt: skip
    assert report["not_done"].keys() == {"fails", "hangs", "strange", "absent", "trains"}
    assert "cannot be read" in report["parts"]["strange"]["reason"]
    assert "5 tokens/s" in table(report), "what a part has measured is not lost"
    assert "no kernel image is available" in report["parts"]["fails"]["reason"]
    assert "attention 2.5 ms" in table(report)
    assert "--model" in table(report)
    assert "flex: failed (no room)" in table(report)
    assert (tmp_path / "out" / "table.md").read_text() == table(report)
    assert len(told) == 8
    again = run_parts(parts[5:6], Machine("cpu", None, tmp_path / "out"), 30.0, say=told.append)
    assert again["parts"].keys() == report["parts"].keys(), "some parts can be run again"
    assert json.loads((tmp_path / "out" / "report.json").read_text())["parts"].keys() == states.keys()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_interrupted_tells_what_it_has(how: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "check"
    words = ("--device", "cpu", "--only", "GPU tests", "--only", "kernels", "--out", str(out))
    with subprocess.Popen(
        [sys.executable, "-m", "training.gpu_check", *words], stdout=subprocess.PIPE, text=True
    ) as check:
        wait_until(lambda: any("pytest" in _command(child) for child in _children(check.pid)), 120)
        time.sleep(0.5)  # its parent knows by then that it has begun
        children = _children(check.pid)
        check.send_signal(how)
        shown, _ = check.communicate(timeout=120)
    assert check.returncode == 130
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert shown == (out / "table.md").read_text()
    assert re.search(r"^- GPU tests: interrupted: ", shown, re.MULTILINE)
    assert "- kernels tiny: left out: the check was interrupted" in shown
    assert json.loads((out / "report.json").read_text())["not_done"].keys() == {"GPU tests", "kernels tiny"}


def test_a_part_that_ends_by_the_interrupt_is_told_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a batch system sends a signal to all processes of a job."""
    (tmp_path / "ends.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGINT)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = run_parts([Part("ends", ("ends",), 1.0)], Machine("cpu", None, tmp_path / "out"), 30.0, say=lambda _: None)
    assert report["parts"]["ends"]["state"] == "interrupted"


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_what_is_not_there_is_a_part_that_was_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = {part.name: part.missing for part in parts_of(Machine("cuda", "m.gguf", tmp_path, "/no/vllm"))}
    assert "'/no/vllm'; name it with --vllm-command" in missing["engine rates, vLLM"]
    assert "folder of the sources" in missing["GPU tests"]
    assert [name for name, reason in missing.items() if reason] == ["GPU tests", "engine rates, vLLM"]


def test_kernels_are_told_apart_by_their_names() -> None:
    kernels = [
        ("void flash::flash_fwd_kernel<...>", 1000.0),
        ("sm90_xmma_gemm_bf16bf16", 4000.0),
        ("nvjet_hsh_128x256", 1000.0),
        ("void at::native::unrolled_elementwise_kernel<direct_copy_kernel_cuda>", 2000.0),
        ("void at::native::reduce_kernel<512>", 500.0),
        ("void at::native::vectorized_elementwise_kernel<4, MulFunctor>", 1500.0),
        ("something new", 100.0),
    ]
    assert by_kind(kernels) == {
        "matrix products": 5.0, "copies": 2.0, "element-wise": 1.5, "attention": 1.0, "sums": 0.5, "other": 0.1,
    }  # fmt: skip


def test_without_a_gpu_the_way_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert main([]) == 2
    assert "--device cpu --model tiny" in capsys.readouterr().err
