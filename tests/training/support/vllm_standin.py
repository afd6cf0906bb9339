"""A server that speaks vLLM's protocol over real HTTP and samples from a tiny torch model.

It keeps to what vLLM 0.32 was seen to do: explicit sampling parameters win over the model's generation settings,
adapters are loaded from the path that is named, a completion takes the adapter that its request names. What it does
otherwise (modes, faults, delays) is set by the tests. `vllm_program` runs it as a program.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aiohttp import web
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

Handler = Callable[[web.Request], Any]


class StandIn:
    """The server, on a thread of its own; a context manager.

    Args:
        model: what is served.
        name: by which the model is known, and where it is said to come from.
    """

    def __init__(self, model: PreTrainedModel, name: str = "tiny") -> None:
        self.model = model.eval()
        self.name = name
        self.max_model_len = 2048
        self.raw = False
        """Whether log-probabilities are of the raw distribution, vLLM's default."""
        self.defaults: dict[str, float] = {}
        """Sampling of the model's generation settings."""
        self.lora = True
        self.latency = 0.0
        self.refusals = 0
        """How many completions to come are answered with a 500."""
        self.refuses: Callable[[int], bool] = lambda seed: False
        """Completions of which seeds are always answered with a 500."""
        self.asleep = False
        self.confused = False
        """Whether it wakes up with other weights than it went to sleep with."""
        self.lie = False
        """Whether replies bear the name of another model."""
        self.events: list[tuple[str, str]] = []
        """What happened, in order: (`asked`, `answered`, `loaded`, `unloaded`, ..., name)."""
        self.bodies: list[dict[str, Any]] = []
        self.adapters: dict[str, str] = {}
        self.wire: queue.Queue[tuple[str, Tensor]] = queue.Queue()
        """In place of NCCL: what the trainer's side broadcasts."""
        self._peft: PeftModel | None = None
        self._seen: dict[str, list[list[int]]] = {}
        self._queries = self._hits = 0
        self._sampling = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> StandIn:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Gone: connections break, new ones are refused."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def forget(self) -> None:
        """What a restart does to it."""
        self.adapters.clear()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=2**26)
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): self._completions,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/health"): self._nothing,
            ("GET", "/server_info"): self._info,
            ("GET", "/get_world_size"): self._world_size,
            ("POST", "/init_weight_transfer_engine"): self._acknowledged,
            ("POST", "/start_weight_update"): self._acknowledged,
            ("POST", "/update_weights"): self._update_weights,
            ("POST", "/finish_weight_update"): self._acknowledged,
            ("POST", "/reset_prefix_cache"): self._reset,
            ("POST", "/sleep"): self._sleep,
            ("POST", "/wake_up"): self._wake,
        }
        if self.lora:
            routes["POST", "/v1/load_lora_adapter"] = self._load
            routes["POST", "/v1/unload_lora_adapter"] = self._unload
        for (method, path), handler in routes.items():
            app.router.add_route(method, path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    # What vLLM answers

    async def _models(self, request: web.Request) -> web.Response:
        cards = [{"id": self.name, "root": self.name, "parent": None, "max_model_len": self.max_model_len}]
        cards += [{"id": name, "root": path, "parent": self.name} for name, path in self.adapters.items()]
        return web.json_response({"object": "list", "data": cards})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(path) / "adapter_config.json").is_file():
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}")
        with self._sampling:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.model, path, adapter_name=_key(name))
            elif _key(name) not in self._peft.peft_config:
                self._peft.load_adapter(path, _key(name))
        self.adapters[name] = path
        self.events.append(("loaded", name))
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if name not in self.adapters:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        self.events.append(("unloaded", name))
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def _completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["model"]
        self.bodies.append(body)
        self.events.append(("asked", name))
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.asleep or self.refusals > 0 or self.refuses(body["seed"]):
            self.refusals -= 1
            return _error(500, "EngineCore encountered an issue.")
        if name != self.name and name not in self.adapters:
            return _error(404, f"The model `{name}` does not exist. Valid aliases: <path>")
        if len(body["prompt"]) >= self.max_model_len:
            return _error(400, f"This model's maximum context length is {self.max_model_len} tokens.")
        choice = await asyncio.to_thread(self._sample, name, body)
        self.events.append(("answered", name))
        return web.json_response({"model": "another" if self.lie else name, "choices": [choice], "usage": {}})

    async def _metrics(self, request: web.Request) -> web.Response:
        labels = f'{{engine="0",model_name="{self.name}"}}'
        return web.Response(
            text="# TYPE vllm:prefix_cache_queries_total counter\n"
            f"vllm:prefix_cache_queries_total{labels} {float(self._queries)}\n"
            "vllm:prefix_cache_queries_created{} 1.79e+09\n"
            f"vllm:prefix_cache_hits_total{labels} {float(self._hits)}\n"
        )

    def _sample(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        prompt = list(body["prompt"])
        settings = {"temperature": 1.0, "top_k": 0, **self.defaults}
        settings |= {key: body[key] for key in ("temperature", "top_k") if body.get(key) is not None}
        stops = {*body.get("stop_token_ids", ()), self.model.config.eos_token_id}
        chance = np.random.default_rng(body["seed"])
        tokens: list[int] = []
        logprobs: list[float] = []
        tops: list[dict[str, float]] = []
        with self._sampling, torch.no_grad():
            self._remember(name, prompt)
            while len(tokens) < body["max_tokens"] and not (tokens and tokens[-1] in stops):
                plain = self._logits(name, prompt + tokens)
                processed = plain / (settings["temperature"] or 1.0)
                if settings["top_k"]:
                    least = processed.topk(int(settings["top_k"])).values[-1]
                    processed = processed.masked_fill(processed < least, -torch.inf)
                shown = (plain if self.raw else processed).log_softmax(-1)
                cumulated = processed.double().softmax(-1).cumsum(-1)
                drawn = int(torch.searchsorted(cumulated, chance.random())) if settings["temperature"] else -1
                token = min(drawn, len(plain) - 1) if drawn >= 0 else int(plain.argmax())
                tokens.append(token)
                logprobs.append(float(shown[token]))
                likeliest = shown.topk(body["logprobs"]) if body["logprobs"] else None
                pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True) if likeliest else ()
                tops.append({f"token_id:{t}": max(v, -9999.0) for t, v in [(token, logprobs[-1]), *pairs]})
        return {
            "index": 0,
            "text": "",
            "finish_reason": "stop" if tokens[-1] in stops else "length",
            "token_ids": tokens if body.get("return_token_ids") else None,
            "prompt_token_ids": prompt,
            "logprobs": {"token_logprobs": logprobs, "top_logprobs": tops, "tokens": [f"token_id:{t}" for t in tokens]},
        }

    def _logits(self, name: str, ids: list[int]) -> Tensor:
        inputs = torch.tensor([ids])
        if self._peft is None:
            return self.model(inputs).logits[0, -1].float()  # type: ignore[no-any-return]
        if name == self.name:
            with self._peft.disable_adapter():
                return self._peft(inputs).logits[0, -1].float()  # type: ignore[no-any-return]
        self._peft.set_adapter(_key(name))
        return self._peft(inputs).logits[0, -1].float()  # type: ignore[no-any-return]

    def _remember(self, name: str, prompt: list[int]) -> None:
        known = self._seen.setdefault(name, [])
        shared = max((_common(prompt, other) for other in known), default=0)
        self._queries += len(prompt)
        self._hits += shared // 16 * 16
        known.append(prompt)

    # Weights over the wire

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response({"vllm_config": {"weight_transfer_config": {"backend": "nccl"}}})

    async def _world_size(self, request: web.Request) -> web.Response:
        return web.json_response({"world_size": 1})

    async def _acknowledged(self, request: web.Request) -> web.Response:
        self.events.append((request.path.strip("/"), ""))
        return web.json_response({"message": "done"})

    async def _reset(self, request: web.Request) -> web.Response:
        self._seen.clear()
        self.events.append(("reset_prefix_cache", ""))
        return web.json_response({"success": True})

    async def _sleep(self, request: web.Request) -> web.Response:
        assert not self._seen, "the prefix cache is to be reset before"
        self.asleep = True
        self.events.append(("sleep", request.query["level"]))
        return web.Response()

    async def _wake(self, request: web.Request) -> web.Response:
        self.asleep = False
        self.events.append(("wake_up", ""))
        if self.confused:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.copy_(torch.randn_like(parameter))
        return web.Response()

    async def _update_weights(self, request: web.Request) -> web.Response:
        info = (await request.json())["update_info"]
        parameters = dict(self.model.named_parameters())
        for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
            sent, value = await asyncio.to_thread(self.wire.get, timeout=10)
            assert (sent, str(value.dtype), list(value.shape)) == (name, f"torch.{dtype}", shape)
            with self._sampling, torch.no_grad():
                parameters[name].copy_(value)
        self.events.append(("update_weights", ""))
        return web.json_response({"message": "Weights updated"})


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=json.dumps({"error": {"message": message, "code": status}}))


def _key(name: str) -> str:
    return name.replace(".", "_")


def _common(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def wait_until(found: Callable[[], bool], seconds: float = 5.0) -> None:
    """Polls for something that another thread does."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
