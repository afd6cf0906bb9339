"""A server of the run's own ends with the run however that ends, and comes back with the current adapter if it dies.

The stand-in is a process that is started by the very code that starts vLLM (`vllm_command`); like vLLM it has an engine
process of its own, which would keep the GPU's memory if it were left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.errors import ConfigError, ModelUnavailable
from tests.training.engines.test_vllm import END, PREFIX, ask, policy, trained
from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from tests.training.support.toy import toy_config, toy_tasks
from tests.training.support.vllm_standin import wait_until
from training.engines.base import BASE
from training.engines.vllm.child import ChildServer, Launch
from training.engines.vllm.delivery import AdapterDelivery
from training.engines.vllm.engine import VllmEngine
from training.engines.vllm.probe import Probe, same_weights
from training.engines.vllm.server import Drawn, VllmServer
from training.flow_grpo import own_server
from training.flow_grpo.__main__ import main
from training.flow_grpo.config import load_config
from training.flow_grpo.lengths import usual_lengths
from training.flow_grpo.memory import shared_memory, trainer_memory
from training.flow_grpo.micro_batches import Room, settled
from training.run.metrics import read_metrics
from training.update.logprobs import completion_logprobs

torch.set_num_threads(1)

STAND_IN = f"{shlex.quote(sys.executable)} -m tests.training.support.vllm_program"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `policy()`, for the server."""
    path = tmp_path_factory.mktemp("served")
    tiny_model(3, 0.4).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def child(folder: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts servers that stop with the test."""
    begun: list[ChildServer] = []

    def start(*, ready: bool = True, show: Any = None, **launch: Any) -> ChildServer:
        settings = {"model": str(folder), "dtype": "float32", "max_context": 512, "lora_rank": 4, "command": STAND_IN}
        server = ChildServer(Launch(**{**settings, **launch}), tmp_path / "vllm.log", show=show)  # type: ignore[arg-type]
        begun.append(server)
        server.start()
        if ready:
            server.wait_until_ready()
        return server

    yield start
    for server in begun:
        server.stop()


def processes(log: Path) -> list[int]:
    """The server's process and its engine's, of the last start."""
    return [int(pid) for pid in re.findall(r"process (\d+)", log.read_text())][-2:]


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def engine_of(server: ChildServer, model: Any, folder: Path) -> VllmEngine:
    probe = Probe("tiny", PREFIX, 0.7, partial(completion_logprobs, model))
    return VllmEngine(
        [server.url], AdapterDelivery(model, folder, "t"), END, max_context=512, probe=probe, child=server
    )


async def agrees(engine: VllmEngine, model: Any, run: str) -> None:
    """What is drawn is drawn from the current policy."""
    prompt, reply = await ask(engine, run, seed=3)
    assert list(reply.logprobs) == pytest.approx(completion_logprobs(model, prompt, reply.token_ids, 0.7), abs=1e-4)


def test_it_is_started_with_what_training_needs() -> None:
    launch = Launch(
        "m", "bfloat16", 4096, 24, memory_share=0.4, sleeps=True, sequences=128, options="--max-num-batched-tokens 4096"
    )
    words = " ".join(launch.words(8000))
    for option in (
        "vllm serve m --host 127.0.0.1 --port 8000", f"--served-model-name {BASE}", "--max-lora-rank 32",
        "--logprobs-mode processed_logprobs", "--generation-config vllm", "--gpu-memory-utilization 0.400",
        "--enable-sleep-mode", "--max-model-len 4096", "--max-num-seqs 128", "--max-num-batched-tokens 4096",
    ):  # fmt: skip
        assert option in words
    assert "--enforce-eager" not in words
    with pytest.raises(ConfigError, match="up to rank 512"):
        Launch("m", "bfloat16", 4096, 600).words(1)


def test_the_child_sees_no_keys_of_other_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "needed")
    monkeypatch.setenv("RANK", "0")
    environment = Launch("m", "bfloat16", 4096, 8).environment()
    assert environment["HF_TOKEN"] == "needed"
    assert not {"OPENAI_API_KEY", "RANK", "VLLM_SERVER_DEV_MODE"} & environment.keys()


def test_it_ends_with_all_its_processes_when_it_is_stopped(child: Any, tmp_path: Path) -> None:
    said: list[str] = []
    server = child(show=said.append, options="--hollow")
    pids = processes(server.log)
    assert len(pids) == 2
    assert all(running(pid) for pid in pids)
    assert "vLLM loads" in said[0]
    assert "vLLM is ready after" in said[-1]
    server.stop()
    assert not any(running(pid) for pid in pids)
    assert not server.alive


def test_its_last_words_are_quoted_when_it_cannot_start(child: Any) -> None:
    server = child(ready=False, options="--fails")
    with pytest.raises(ModelUnavailable, match=r"exit code 1: ValueError: no room .*\. Its log is .*vllm.log"):
        server.wait_until_ready()
    assert not any(running(pid) for pid in processes(server.log))
    with pytest.raises(ConfigError, match="pip install vllm"):
        child(command="no-such-program")


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (  # what vLLM 0.32 writes
            [
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
                "  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len.",
                "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
            ],
            "Value error, User-specified max_model_len (100000) is greater than the derived max_model_len",
        ),
        (
            [
                "(EngineCore pid=19) ERROR 11-28 15:44:09 [core.py:1204] ValueError: To serve at least one request.",
                "(APIServer pid=17) RuntimeError: Engine core initialization failed. See root cause above.",
                "resource_tracker: There appear to be 1 leaked shared_memory objects",
            ],
            "ValueError: To serve at least one request",
        ),
        (  # its engine was killed
            [
                "(APIServer pid=17) ERROR 11-28 15:57:13 [async_llm.py:906] EngineDeadError: EngineCore encountered an "
                "issue. See stack trace (above) for the root cause.",
                'INFO:     127.0.0.1:47506 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error',
            ],
            "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause",
        ),
        (
            [
                "(APIServer pid=17) WARNING 11-28 15:44:09 [system_utils.py:255] This can cause errors like `OSError`.",
                "vllm: error: unrecognized arguments: --no-such-option",
            ],
            "vllm: error: unrecognized arguments: --no-such-option",
        ),
    ],
)
def test_the_cause_of_its_end_is_found_in_its_log(log: list[str], cause: str, child: Any) -> None:
    said = shlex.join([sys.executable, "-c", f"import sys; sys.exit({chr(10).join(log)!r})"])
    with pytest.raises(ModelUnavailable) as raised:
        child(command=said)
    assert f"ended with exit code 1: {cause}. Its log is" in str(raised.value)
    killed = shlex.join([sys.executable, "-c", "import os; print('a request', flush=True); os.kill(os.getpid(), 9)"])
    with pytest.raises(ModelUnavailable, match=r"server was killed by signal 9\. Its log"):
        child(command=killed)


@pytest.mark.parametrize(("code", "told"), [(137, "was killed by signal 9"), (255, "ended with exit code 255")])
def test_a_shells_exit_code_tells_the_signal(code: int, told: str, child: Any) -> None:
    with pytest.raises(ModelUnavailable, match=rf"server {told}\. Its log"):
        child(command=shlex.join([sys.executable, "-c", f"import sys; sys.exit({code})"]))


def test_a_server_that_says_nothing_for_long_is_told(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.engines.vllm.child._REPORT_EVERY", 0.1)
    said: list[str] = []
    silent = shlex.join([sys.executable, "-c", "import time; time.sleep(1)"])
    with pytest.raises(ModelUnavailable, match=r"ended with exit code 0\. Its log"):
        child(command=silent, show=said.append)
    assert "0 s: no output yet" in said[1]


@pytest.mark.parametrize("loading", [0.0, 60.0])
def test_it_ends_when_its_owner_is_killed(loading: float, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    options = f"--hollow --loading-seconds {loading}"
    launch = f"Launch({str(folder)!r}, 'float32', 512, 4, command={STAND_IN!r}, options={options!r})"
    program = (
        "import threading, time; from pathlib import Path\n"
        "from training.engines.vllm.child import ChildServer, Launch\n"
        f"server = ChildServer({launch}, Path({str(log)!r}), show=print)\n"
        "thread = threading.Thread(target=server.start); thread.start(); thread.join()\n"  # the thread may end
        f"{'server.wait_until_ready()' if not loading else ''}\n"
        "print('started', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert any("started" in line for line in owner.stdout)
    wait_until(lambda: len(processes(log)) == 2, 60)
    pids = processes(log)
    time.sleep(0.5)
    assert all(running(pid) for pid in pids), "it lives as long as its owner, whatever the owner's threads do"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not any(running(pid) for pid in pids), 30)


async def test_a_server_that_dies_comes_back_with_the_current_adapter(child: Any, tmp_path: Path) -> None:
    server = await asyncio.to_thread(child)
    model = policy()
    engine = engine_of(server, model, tmp_path / "adapters")
    await engine.sync(0)
    trained(model, 1)
    await engine.sync(1)
    api, core = processes(server.log)
    os.kill(api, signal.SIGKILL)
    drawn = await asyncio.gather(*(ask(engine, f"0/t{n}/0", seed=n) for n in range(4)))
    assert {reply.policy_version for _, reply in drawn} == {1}
    assert server.starts == 2
    assert not running(core), "an engine process that is left would keep the GPU's memory"
    await agrees(engine, model, "r")
    os.kill(processes(server.log)[0], signal.SIGKILL)
    await engine.recover()  # what a run does before it is tried again whose frozen roles met a dead server
    assert server.starts == 3
    os.kill(processes(server.log)[0], signal.SIGKILL)
    trained(model, 2)
    await engine.sync(2)
    await agrees(engine, model, "r")
    await engine.aclose()
    assert not any(running(pid) for pid in processes(server.log))


async def test_one_that_dies_again_and_again_ends_the_run(
    child: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engines.vllm.engine._MOST_DEATHS", 0)
    server = await asyncio.to_thread(child)
    engine = engine_of(server, policy(), tmp_path / "adapters")
    await engine.sync(0)
    os.kill(processes(server.log)[0], signal.SIGKILL)
    with pytest.raises(ModelUnavailable, match="It died 1 times"):
        await ask(engine, "r")
    await engine.aclose()


@pytest.mark.parametrize("confused", [False, True])
async def test_it_sleeps_while_the_trainer_updates_and_is_what_it_was_when_it_wakes(
    confused: bool, child: Any, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(partial(child, sleeps=True, options="--confused" if confused else ""))
    model = policy()
    engine = engine_of(server, model, tmp_path / "adapters")
    await engine.sync(0)
    await ask(engine, "r")
    await engine.make_room()
    waiting = asyncio.create_task(ask(engine, "s"))
    trained(model, 1)
    await asyncio.sleep(0.1)
    assert not waiting.done(), "a turn that comes while it sleeps waits"
    await engine.sync(1)
    _, reply = await waiting
    assert reply.policy_version == 1
    await agrees(engine, model, "r")
    assert server.starts == (2 if confused else 1), "one that wakes up with other weights is started again"
    await engine.make_room()
    await engine.sync(1)  # a validation with the same policy
    await agrees(engine, model, "r")
    await engine.aclose()


@pytest.mark.parametrize(
    ("tokens", "logprobs", "same"),
    [
        ((5, 6, 7), (-1.0, -0.5, -2.0), True),
        ((5, 6, 7), (-1.1, -0.4, -2.1), True),  # rounding
        ((5, 6, 8), (-1.1, -0.5, -2.1), True),  # which has turned the scales
        ((5, 6, 7), (-3.0, -0.1, -4.0), False),
        ((5, 8, 7), (-2.0, -0.5, -2.0), False),
        ((4, 6, 7), (-1.0, -0.5, -2.0), False),
    ],
)
def test_replies_of_the_same_weights_need_not_be_equal(
    tokens: tuple[int, ...], logprobs: tuple[float, ...], same: bool
) -> None:
    before = Drawn((5, 6, 7), (-1.0, -0.5, -2.0), "length")
    assert same_weights(before, Drawn(tokens, logprobs, "length")) == same


def settings_of(folder: Path, model: Path, **more: Any) -> Path:
    config = toy_config(
        folder, model, **{"engine": "vllm", "vllm_command": STAND_IN, "deterministic": False, "steps": 2, **more}
    )
    path = folder / "settings.yaml"
    path.write_text(json.dumps(config.as_dict()))
    return path


def test_a_run_starts_its_server_trains_on_it_and_ends_it(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(settings_of(tmp_path, policy_folder))]) == 0
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert [line["staleness"] for line in lines] == [0, 0]
    assert all(line["logprob_gap"] < 1e-4 for line in lines)
    assert not any(running(pid) for pid in processes(tmp_path / "run" / "vllm.log"))
    assert " --max-num-seqs 64 " in (tmp_path / "run" / "vllm.log").read_text()
    assert "vLLM is ready after" in capsys.readouterr().err


def test_a_run_lets_its_server_sleep_during_updates(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str, call: Callable[[VllmServer], Awaitable[None]]) -> Callable[[VllmServer], Awaitable[None]]:
        async def noting(server: VllmServer) -> None:
            done.append(name)
            await call(server)

        return noting

    for name in ("sleep", "wake"):
        monkeypatch.setattr(VllmServer, name, noted(name, getattr(VllmServer, name)))
    monkeypatch.setattr(own_server, "_share", lambda config: (0.4, True))
    held_out = toy_tasks(tmp_path / "heldout.jsonl", 2)
    held_out.write_text(held_out.read_text().replace("Number", "Figure"))
    path = settings_of(tmp_path, policy_folder, validation=str(held_out), validation_every=1)
    assert main(["--config", str(path)]) == 0
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["staleness"] for line in lines if "loss" in line] == [0, 0]
    assert all(line["logprob_gap"] < 1e-4 for line in lines if "loss" in line)
    assert len([line for line in lines if "eval/pass_rate" in line]) == 3
    assert done == ["sleep", "wake", "sleep", "wake"], "the second step begins with what the validation woke"


def test_its_share_of_a_gpu_is_the_planned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    free, total = 79 * 2**30, 80 * 2**30
    monkeypatch.setattr(own_server, "has_gpu", lambda config: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, total))
    config = load_config(Path("training/recipes/one_gpu_7b.yaml"), {"model": "7b"})
    shape = own_server.shape_before_loading(config)
    config = settled(config, shape, Room("a card", free, gpu=True))
    launch = own_server._launch(config)
    share, _ = shared_memory(shape, config, trainer_memory(shape, config), free, usual_lengths(config).transcript)
    assert launch.memory_share == share.server / total
    assert launch.sleeps == share.sleeps
    assert launch.sequences == config.tasks_per_step * config.group_size == 128


def test_settings_with_which_the_server_could_not_start_may_be_corrected(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings_of(tmp_path, policy_folder, vllm_options="--fails", max_context=1024, steps=1)
    assert main(["--config", str(path)]) == 2
    assert "no room for the cache. Its log is" in capsys.readouterr().err
    log = tmp_path / "run" / "vllm.log"
    assert "no room for the cache" in log.read_text(), "the message names it"
    assert main(["--config", str(path), "--max_context", "512", "--vllm_options=--loading-seconds 0"]) == 0
    assert "no room for the cache" in log.read_text(), "it is appended"


def test_a_mistake_after_the_server_has_started_ends_it_too(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings_of(tmp_path, policy_folder, agent="no_such_module:agent", vllm_options="--hollow")
    assert main(["--config", str(path)]) == 2
    assert "cannot be imported" in capsys.readouterr().err
    assert not any(running(pid) for pid in processes(tmp_path / "run" / "vllm.log"))
