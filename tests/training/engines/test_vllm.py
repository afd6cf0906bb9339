"""The engine that samples from vLLM servers, against a stand-in that speaks their protocol over real HTTP."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from graph.errors import AgentFlowError, ConfigError, ContextLengthExceeded, ModelUnavailable
from tests.training.support.tiny_model import tiny_model
from tests.training.support.toy import toy_config
from tests.training.support.vllm_standin import StandIn, wait_until
from training.engines.base import Completion, Sampling
from training.engines.vllm.delivery import AdapterDelivery, WeightDelivery
from training.engines.vllm.engine import VllmEngine, server_urls
from training.engines.vllm.probe import Probe
from training.flow_grpo.__main__ import main
from training.flow_grpo.config import FlowGRPOConfig
from training.models.policy import load_policy, with_adapter
from training.rollouts.store import read_rollouts
from training.run import checkpoints
from training.run.metrics import read_metrics
from training.update.logprobs import attach_scoring, completion_logprobs

torch.set_num_threads(1)

END = frozenset({2})
PREFIX = list(range(10, 60))


@pytest.fixture
def servers() -> Iterator[Any]:
    """Starts stand-ins that stop with the test."""
    with ExitStack() as stack:

        def start(model: PreTrainedModel | None = None, **settings: Any) -> StandIn:
            server = StandIn(model or tiny_model(3, 0.4))
            for name, value in settings.items():
                setattr(server, name, value)
            return stack.enter_context(server)

        yield start


def policy() -> PeftModel:
    torch.manual_seed(5)
    model = get_peft_model(tiny_model(3, 0.4), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    attach_scoring(model)
    return model


def trained(model: nn.Module, seed: int) -> None:
    """An update that changes what is sampled."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


def engine_of(servers: Sequence[StandIn], model: nn.Module, folder: Path, **more: Any) -> VllmEngine:
    probe = Probe("tiny", PREFIX, 0.7, partial(completion_logprobs, model))
    delivery = AdapterDelivery(model, folder, "test")
    return VllmEngine([server.url for server in servers], delivery, END, **{"max_context": 512, "probe": probe} | more)


async def ask(engine: VllmEngine, run: str, seed: int = 0, **sampling: Any) -> tuple[list[int], Completion]:
    prompt = [*PREFIX, 100 + seed % 50]
    chosen = Sampling(**{"temperature": 0.7, "max_tokens": 6, **sampling})
    return prompt, await engine.generate(prompt, chosen, seed=seed, run=run)


async def test_ids_go_in_and_ids_come_out_with_the_log_probabilities_of_the_trained_distribution(
    servers: Any, tmp_path: Path
) -> None:
    server, model = servers(), policy()
    engine = engine_of([server], model, tmp_path)
    trained(model, 1)
    await engine.sync(0)
    drawn = await asyncio.gather(*(ask(engine, f"0/t{n}/0", seed=n) for n in range(12)))
    for prompt, reply in drawn:
        own = completion_logprobs(model, prompt, reply.token_ids, 0.7)
        assert list(reply.logprobs) == pytest.approx(own, abs=1e-4)
        assert reply.finish_reason == ("stop" if reply.token_ids[-1] == 2 else "length")
        assert len(reply.token_ids) <= 6
    assert len({reply.token_ids for _, reply in drawn}) > 6
    again = await ask(engine, "elsewhere", seed=3)
    assert again[1].token_ids == drawn[3][1].token_ids  # the seed decides
    greedy = await ask(engine, "greedy", temperature=0.0)
    assert list(greedy[1].logprobs) == pytest.approx(completion_logprobs(model, *_ids(greedy), 1.0), abs=1e-4)
    plain = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    assert plain.items() <= server.bodies[-1].items()
    assert not {"structured_outputs", "response_format", "stop"} & server.bodies[-1].keys()
    await engine.aclose()
    assert server.adapters == {}


def _ids(turn: tuple[list[int], Completion]) -> tuple[list[int], tuple[int, ...]]:
    return turn[0], turn[1].token_ids


async def test_no_turn_is_attributed_to_another_version_than_the_one_that_drew_it(servers: Any, tmp_path: Path) -> None:
    server, model = servers(), policy()
    engine = engine_of([server], model, tmp_path)
    assert engine.version == -1
    await engine.sync(0)
    server.latency = 0.05
    policies: dict[int, nn.Module] = {}
    turns: list[tuple[list[int], Completion]] = []

    def drawn() -> set[int]:
        return {reply.policy_version for _, reply in turns}

    async def keep_asking(run: int) -> None:
        for turn in range(1000):
            turns.append(await ask(engine, f"0/t/{run}", seed=1000 * run + turn, max_tokens=3))
            await asyncio.sleep(0.01 * run)
            if 3 in drawn():
                break

    asking = asyncio.gather(*(keep_asking(run) for run in range(4)))
    for version in range(1, 4):
        policies[version - 1] = copy.deepcopy(model)
        while version - 1 not in drawn():
            await asyncio.sleep(0.01)
        trained(model, version)
        await engine.sync(version)
        assert engine.version == version
    policies[3] = model
    await asking
    assert drawn() == {0, 1, 2, 3}
    for prompt, reply in turns:
        own = completion_logprobs(policies[reply.policy_version], prompt, reply.token_ids, 0.7)
        assert list(reply.logprobs) == pytest.approx(own, abs=1e-4)
    asked = 0
    for what, _ in server.events:  # turns in flight end before a version is loaded
        asked += {"asked": 1, "answered": -1}.get(what, 0)
        assert what != "loaded" or asked == 0
    names = [name for what, name in server.events if what == "loaded"]
    assert len(set(names)) == 4
    assert list(server.adapters) == [names[-1]]
    [folder] = tmp_path.iterdir()
    assert folder.name == names[-1]
    [weights] = folder.glob("*.safetensors")  # a server may run as another user
    assert weights.stat().st_mode & 0o666 == folder.stat().st_mode & 0o666
    await engine.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_roles_with_adapters_of_their_own_are_delivered_together(servers: Any, tmp_path: Path) -> None:
    names = ("planner", "solver")
    model = with_adapter(tiny_model(3, 0.4), rank=4, alpha=8, targets="all-linear", seed=0, names=names)
    server = servers()
    engine = engine_of([server], model, tmp_path)
    await engine.sync(0)
    with pytest.raises(ConfigError, match="asked to play 'boss'"):
        await ask(engine, "r", role="boss")
    for version in (1, 2):
        trained(model, version)
        await engine.sync(version)
        turns = [(role, *await ask(engine, "r", seed=seed, role=role)) for seed in range(4) for role in names]
        for role, prompt, reply in turns:
            assert reply.policy_version == version
            own = completion_logprobs(model, prompt, reply.token_ids, 0.7, role)
            assert list(reply.logprobs) == pytest.approx(own, abs=1e-4)
    server.forget()  # both come back
    prompt, reply = await ask(engine, "r", role="solver")
    assert list(reply.logprobs) == pytest.approx(
        completion_logprobs(model, prompt, reply.token_ids, 0.7, "solver"), abs=1e-4
    )
    loaded = [name.split("-", 3)[3] for what, name in server.events if what == "loaded"]
    assert loaded == [f"{version}-{role}" for version in (0, 1, 2, 2) for role in names]
    events = [what for what, _ in server.events]
    first = events.index("unloaded")
    assert events[first - 2 : first] == ["loaded", "loaded"]  # the old ones go when the new ones are there
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.iterdir()) == list(names)
    await engine.aclose()
    assert server.adapters == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"raw": True}, "--logprobs-mode processed_logprobs"),
        ({"defaults": {"top_k": 3}}, "--generation-config vllm"),
        ({"defaults": {"temperature": 0.6}}, "--generation-config vllm"),
        ({"lora": False}, "--enable-lora"),
        ({"model": tiny_model(8, 0.4)}, "nats per token"),
        ({"name": "Qwen/Qwen2.5-7B"}, "serves Qwen/Qwen2.5-7B"),
    ],
)
async def test_a_server_that_would_spoil_the_training_is_refused_at_the_start(
    settings: dict[str, Any], said: str, servers: Any, tmp_path: Path
) -> None:
    server, model = servers(**settings), policy()
    engine = engine_of([server], model, tmp_path)
    if "name" in settings:
        engine._probe = Probe("Qwen/Qwen2.5-7B-Instruct", PREFIX, 0.7, partial(completion_logprobs, model))
    with pytest.raises(ConfigError, match=said):
        await engine.sync(0)
    assert engine.version == -1


async def test_an_adapter_folder_that_the_server_does_not_see_is_told(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdapterDelivery, "_write", lambda *_: None)
    with pytest.raises(ConfigError, match="vllm_adapters"):
        await engine_of([servers()], policy(), tmp_path).sync(0)


async def test_failures_are_tried_again_and_then_typed(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.models.server.random.uniform", lambda *_: 0.01)
    server = servers()
    engine = engine_of([server], policy(), tmp_path)
    await engine.sync(0)
    server.refusals = 2
    _, reply = await ask(engine, "r")
    assert reply.token_ids
    server.refusals = 3
    with pytest.raises(ModelUnavailable, match="EngineCore"):
        await ask(engine, "r")
    server.lie = True
    with pytest.raises(ModelUnavailable, match="completion of 'another'"):
        await ask(engine, "r")
    server.lie = False
    with pytest.raises(ContextLengthExceeded, match="513"):
        await engine.generate([5] * 513, Sampling(), seed=0, run="r")
    server.forget()  # restarted: the adapter is gone, its folder is not
    replies = await asyncio.gather(*(ask(engine, "r", seed=n) for n in range(3)))
    assert {reply.policy_version for _, reply in replies} == {0}
    assert len(server.adapters) == 1
    server.stop()
    with pytest.raises(ModelUnavailable, match=r"cannot be reached .*is it running"):
        await ask(engine, "r")
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        await engine.sync(1)
    assert engine.version == 0


async def test_a_task_stays_with_one_server_and_tasks_are_spread(servers: Any, tmp_path: Path) -> None:
    both = [servers(), servers()]
    engine = engine_of(both, policy(), tmp_path)
    await engine.sync(0)
    await engine.figures()
    for server in both:
        server.bodies.clear()
    await asyncio.gather(*(ask(engine, f"3/task{n % 6}/{n // 6}", seed=n % 6, max_tokens=1) for n in range(24)))
    asked = [{body["prompt"][-1] for body in server.bodies} for server in both]
    assert not asked[0] & asked[1]
    assert [len(tasks) for tasks in asked] == [3, 3]
    figures = await engine.figures()
    assert figures["requests"] == 24
    assert figures["prompt_tokens"] == 24 * 51
    # Every prompt finds the 48 tokens of whole blocks that the probe has left.
    assert figures["prompt_tokens_saved"] == pytest.approx(48 / 51)
    assert (await engine.figures())["requests"] == 0
    both[0].stop()
    assert "prompt_tokens_saved" not in await engine.figures()  # a server without figures is no reason to stop


async def test_what_a_killed_run_left_behind_is_taken_away(servers: Any, tmp_path: Path) -> None:
    server = servers()
    killed = engine_of([server], policy(), tmp_path)
    await killed.sync(3)
    [left] = server.adapters
    engine = engine_of([server], policy(), tmp_path)
    await engine.sync(3)  # of the same version, and yet not the same weights
    assert left not in server.adapters
    assert [path.name for path in tmp_path.iterdir()] == list(server.adapters)


async def test_the_shorter_context_holds(servers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of([servers(max_model_len=128)], policy(), tmp_path)
    await engine.sync(0)
    assert engine.max_context == 128
    assert "128 tokens" in caplog.text
    reply = await engine.generate([*PREFIX, *PREFIX, *range(5, 30)], Sampling(max_tokens=50), seed=1, run="r")
    assert len(reply.token_ids) <= 3


def test_addresses_are_checked() -> None:
    assert server_urls("http://a:1/v1, http://b:2/") == ["http://a:1/v1", "http://b:2/v1"]
    for wrong in ("localhost:8000", "http://a/v1,http://a/v1", ","):
        with pytest.raises(ConfigError, match="vllm_url"):
            server_urls(wrong)


# Whole runs


def settings_of(folder: Path, model: Path, server: StandIn, **more: Any) -> Path:
    config = toy_config(
        folder, model, **{"engine": "vllm", "vllm_url": server.url, "deterministic": False, "attempts": 1, **more}
    )
    path = folder / "settings.yaml"
    path.write_text(json.dumps(config.as_dict()))
    return path


def served(servers: Any, folder: Path, **settings: Any) -> StandIn:
    model, _ = load_policy(str(folder), "float32")
    server: StandIn = servers(model, **settings)
    return server


def test_a_run_trains_on_what_the_server_samples(servers: Any, tmp_path: Path, policy_folder: Path) -> None:
    server = served(servers, policy_folder)
    assert main(["--config", str(settings_of(tmp_path, policy_folder, server, learning_rate=1e-2))]) == 0
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert len(lines) == 3
    for line in lines:
        assert line["logprob_gap"] < 1e-4  # every step's turns were drawn from the weights that are trained
        assert line["staleness"] == 0
        assert line["engine/prompt_tokens_saved"] > 0.5
    rollouts = list(read_rollouts(tmp_path / "run" / "rollouts"))
    assert {(rollout.step, turn.policy_version) for rollout in rollouts for turn in rollout.turns} == {
        (0, 0), (1, 1), (2, 2)
    }  # fmt: skip
    names = [name for what, name in server.events if what == "loaded"]
    assert [name.rpartition("-")[2] for name in names] == ["0", "1", "2"]
    assert server.adapters == {}
    assert list((tmp_path / "run" / "adapters").iterdir()) == []


def test_a_server_that_vanishes_ends_the_run_in_a_sentence_and_the_run_resumes(
    servers: Any, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("graph.models.server.random.uniform", lambda *_: 0.01)
    server = served(servers, policy_folder)
    settings = settings_of(tmp_path, policy_folder, server)

    def vanish(stop: StandIn = server) -> None:
        wait_until(lambda: stop.events.count(("asked", next(reversed(stop.adapters), ""))) > 5 and _step(stop) == 1, 60)
        stop.stop()

    import threading

    thread = threading.Thread(target=vanish, daemon=True)
    server.latency = 0.02
    thread.start()
    assert main(["--config", str(settings)]) == 2
    thread.join()
    said = capsys.readouterr().err
    assert "cannot be reached" in said or "cut off" in said
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    kept = [path.name for path in checkpoints.checkpoints(tmp_path / "run")]
    assert kept
    assert set(kept) <= {"checkpoint-1", "checkpoint-2"}
    other = served(servers, policy_folder)
    assert main(["--config", str(settings), "--vllm_url", other.url]) == 0
    loaded = [name.rpartition("-")[2] for what, name in other.events if what == "loaded"]
    assert loaded == [str(n) for n in range(int(kept[-1].rpartition("-")[2]), 3)]
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert [line["update"] for line in lines] == [1, 2, 3]
    assert all(line["logprob_gap"] < 1e-4 for line in lines)


@pytest.mark.parametrize(
    ("url", "said"), [("127.0.0.1:9", "write http://host:port/v1"), ("http://127.0.0.1:9", "connection refused")]
)
def test_a_wrong_address_is_told_before_the_policy_is_loaded(
    url: str, said: str, servers: Any, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(servers, policy_folder)
    settings = settings_of(tmp_path, tmp_path / "none", server, vllm_url=f"{server.url},{url}")
    assert main(["--config", str(settings)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_whose_server_has_another_model_leaves_no_folder(
    servers: Any, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path, policy_folder, servers(tiny_model(9, 4.0)))
    assert main(["--config", str(settings)]) == 2
    assert "serve the model that `model` names" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _step(server: StandIn) -> int:
    return int(next(reversed(server.adapters), "-0").rpartition("-")[2])


def test_failed_turns_are_counted_and_the_step_goes_on(
    servers: Any, tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.models.server.random.uniform", lambda *_: 0.01)
    server = served(servers, policy_folder, refuses=lambda seed: seed > 1 and seed % 3 == 0)
    assert main(["--config", str(settings_of(tmp_path, policy_folder, server, steps=1, concurrency=4))]) == 0
    line = next(line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line)
    seeds = [body["seed"] for body in server.bodies]
    refused = {seed for seed in seeds if server.refuses(seed)}
    assert line["failed/unavailable"] == line["failed"] == len(refused) > 0
    assert all(seeds.count(seed) > 2 for seed in refused)
    assert line["rollouts"] == 16


# All weights


def wired(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own client over real HTTP; only what needs a GPU, the broadcast itself, is a queue."""
    from trl.generation import vllm_client

    class Group:
        store = socket = None

    class Communicator:
        group = Group()

    def broadcast(iterator: Any, group: Any, src: int, post_iter_func: Any) -> None:
        for item in iterator:
            server.wire.put((item[0], post_iter_func(item).clone()))

    for name, value in {
        "is_vllm_available": lambda *_, **__: True,
        "_HAS_STATEFUL_TRAINER_ENGINE": True,
        "_HAS_RESET_PREFIX_CACHE_SUCCESS": True,
        "get_ip": lambda: "127.0.0.1",
        "open_trainer_endpoint": lambda info: Communicator(),
        "packed_nccl_broadcast_producer": broadcast,
    }.items():
        monkeypatch.setattr(vllm_client, name, value, raising=False)


async def test_all_weights_go_through_trls_client(servers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers()
    wired(server, monkeypatch)
    model = tiny_model(3, 0.4)
    attach_scoring(model)
    probe = Probe("tiny", PREFIX, 0.7, partial(completion_logprobs, model))
    engine = VllmEngine([server.url], WeightDelivery(model, "cuda"), END, max_context=512, probe=probe)
    for version in range(3):
        trained(model, version)
        await engine.sync(version)
        prompt, reply = await ask(engine, "r", seed=version)
        assert reply.policy_version == version
        own = completion_logprobs(model, prompt, reply.token_ids, 0.7)
        assert list(reply.logprobs) == pytest.approx(own, abs=1e-4)
    sent = [what for what, _ in server.events if "weight" in what or "cache" in what]
    once = ["start_weight_update", "update_weights", "finish_weight_update", "reset_prefix_cache"]
    assert sent == ["init_weight_transfer_engine", *once * 3]
    server.stop()
    with pytest.raises(ModelUnavailable, match="did not reach"):
        await engine.sync(3)
    assert engine.version == 2
    await engine.aclose()


async def test_weights_need_gpus_and_vllm_beside_the_trainer(servers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers()
    engine = VllmEngine([server.url], WeightDelivery(tiny_model()), END, max_context=512)
    with pytest.raises(ConfigError, match="needs vLLM"):
        await engine.sync(0)
    wired(server, monkeypatch)
    with pytest.raises(ConfigError, match="GPUs"):
        await engine.sync(0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_rank": 0, "agent_model": "vllm:m@http://localhost:8000"}, "need another server"),
        ({"lora_rank": 0, "vllm_adapters": "x"}, "vllm_adapters"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {
        "model": "m",
        "out": "o",
        "tasks": "t",
        "engine": "vllm",
        "vllm_url": "http://localhost:8000/v1",
    }
    with pytest.raises(AgentFlowError, match=said):
        FlowGRPOConfig(**{**values, **settings})
    FlowGRPOConfig(**{**values, "lora_rank": 0, "agent_model": "vllm:m@http://localhost:9000/v1"})
