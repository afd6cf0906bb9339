"""The embedded model: llama.cpp inside this process, so that no key, GPU or server is needed.

The `xllamacpp` wheel starts llama.cpp's OpenAI-compatible HTTP server on a free port of the loopback interface, and
`EmbeddedChat` is an ordinary client of it. Nothing happens before the first call, which downloads the model's file
(`graph.models.download`), loads it and starts the server. This happens once per process and model, in a daemon thread,
so that neither an event loop nor Ctrl-C ever waits for a download.

Prompts are cached per slot: llama.cpp assigns a request to the slot with the longest common prefix, and moves evicted
prompts to host memory. A prefix shared by several roles is therefore read only once, and the static beginning of each
role's prompt only once per machine (`graph.models.prefixes`).
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

from graph.errors import ConfigError
from graph.models.cores import free_cores
from graph.models.hub import HubModel
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.prefixes import Prefixes, PrefixFiles, Reading
from graph.models.progress import listener, note_stage
from graph.models.senses import TEXT_ONLY
from graph.models.server import Endpoint
from graph.models.server_settings import ServerSettings

log = logging.getLogger(__name__)

_PREFIX_TIMEOUT: Final = 600.0
"""Time limit for reading a static beginning, in seconds; a slow CPU reads ten tokens per second."""

DEFAULT_MODEL: Final = "1.5b"
PROMPT_CACHE_MIB: Final = 2048
"""Host memory for evicted prompts: about 70,000 tokens of the 1.5B model."""
READ_AT_ONCE: Final = 128
"""Prompt tokens per progress report; larger batches are no faster on a CPU."""


def model_path_or_name(spec: str) -> str:
    """Normalise what follows `embedded:` in a spec: a known name, a model on the Hub, a GGUF file, or its folder.

    `OWNER/REPO[:QUANT]` and `OWNER/REPO/FILE.gguf` refer to the Hub unless such a path exists; the default is used if
    it is empty.

    Raises:
        ConfigError: it is none of these.
    """
    from graph.models.download import MODEL_FILES

    name = spec.strip().lower() or DEFAULT_MODEL
    if name in MODEL_FILES:
        return name
    path = Path(spec).expanduser()
    if HubModel.parse(spec) is not None and not path.exists():
        return spec.strip()
    if "/" in spec or spec.lower().endswith(".gguf"):
        return str(path.absolute())
    names = ", ".join(f"`embedded:{known}`" for known in MODEL_FILES)
    raise ConfigError(
        f"`embedded:{spec}` names no model; write {names}, `embedded:OWNER/REPO` "
        "for a GGUF model of the Hugging Face Hub, or `embedded:/path/to/model.gguf`."
    )


class EmbeddedChat(OpenAICompatibleChat):
    """A chat model served by llama.cpp in this process; see the module's docstring.

    Raises, at the first call: ConfigError (xllamacpp or the file is missing or cannot be loaded), DataError or
    ModelUnavailable (the file cannot be fetched).
    """

    provider: ClassVar[str] = "embedded"
    needs_checks: ClassVar[bool] = True

    profile: ModelProfile | None = Field(default=TEXT_ONLY, exclude=True)
    model: str = DEFAULT_MODEL
    """`0.5b`, `1.5b`, `OWNER/REPO[:QUANT]` on the Hub, or the path of a GGUF file or of a folder with one."""
    base_url: str = ""
    """Not used: the server's address is only known once it runs."""
    settings: ServerSettings = Field(default_factory=ServerSettings.from_environment)

    _address: str = PrivateAttr(default="")

    async def _endpoint(self) -> Endpoint:
        if not self._address:
            self._address = f"{(await _served(self.model, self.settings)).root}/v1"
        return Endpoint(
            self._address,
            timeout=self.timeout,
            max_retries=self.max_retries,
            name="The embedded model",
            if_too_long=f"set AGENTFLOW_EMBEDDED_CONTEXT to more than {self.settings.context} tokens",
        )

    @property
    def calls_at_once(self) -> int:
        """How many calls suit it: one on a CPU, which answers in turn, and as many as there are slots on a GPU."""
        return self.settings.slots if self.settings.gpu_layers and not self.settings.exact and _has_gpu() else 1

    async def check(self) -> None:
        """Download the file and start the server now instead of at the first call."""
        await self._endpoint()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reading = await self._read_static_part(messages)
        result = await super()._agenerate(messages, stop, run_manager, **kwargs)
        for generation in result.generations:
            _note(reading, generation.message)
        return result

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        reading = await self._read_static_part(messages)
        if listener() is not None:
            kwargs["return_progress"] = True
        async with aclosing(super()._astream(messages, stop, run_manager, **kwargs)) as chunks:
            async for chunk in chunks:
                _note(reading, chunk.message)
                yield chunk

    async def _read_static_part(self, messages: list[BaseMessage]) -> Reading:
        server = await _served(self.model, self.settings)
        return Reading() if server.prefixes is None else await server.prefixes.ensure(messages)


def _note(reading: Reading, message: BaseMessage) -> None:
    """Adds to llama.cpp's timings of a call what it took to read the static part before it."""
    if "timings" in message.response_metadata:
        static = {"static_n": reading.tokens, "static_ms": reading.milliseconds}
        message.response_metadata["timings"] = {**message.response_metadata["timings"], **static}


def _has_gpu() -> bool:
    """Whether llama.cpp is built for a GPU of this machine."""
    try:
        devices = importlib.import_module("xllamacpp").get_device_info()
    except ImportError:
        return False
    return any(device["type"].name.endswith("GPU") for device in devices)


@dataclass(frozen=True)
class _Served:
    """A server in this process."""

    server: Any
    """The `xllamacpp.Server`; it stops when its last reference is dropped."""
    prefixes: Prefixes | None

    @property
    def root(self) -> str:
        """Its address, without `/v1`."""
        return str(self.server.listening_address)


_servers: dict[tuple[str, ServerSettings], Future[_Served]] = {}
_servers_lock = threading.Lock()


async def _served(model: str, settings: ServerSettings) -> _Served:
    """The model's server; the first caller starts it."""
    key = (model, settings)
    with _servers_lock:
        started = _servers.get(key)
        if started is None or (started.done() and started.exception() is not None):
            started = _servers[key] = Future()
            work = partial(copy_context().run, _fulfil, started, *key)  # listeners are informed about the start
            threading.Thread(target=work, name="embedded-model", daemon=True).start()
    # Shielded: that one caller gives up must not cancel the start for the others.
    return await asyncio.shield(asyncio.wrap_future(started))


def _fulfil(promise: Future[_Served], model: str, settings: ServerSettings) -> None:
    try:
        server = _start(model, settings)
    except Exception as error:  # noqa: BLE001 -- handed to the callers that wait
        promise.set_exception(error)
    else:
        promise.set_result(server)


def _start(model: str, settings: ServerSettings) -> _Served:
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ConfigError(
            "The embedded model needs the package xllamacpp; install it with "
            "`pip install xllamacpp` or name another model."
        ) from error
    path = model_file(model)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {model}
    params.n_parallel = 1 if settings.exact else settings.slots
    params.n_ctx = params.n_parallel * settings.context
    params.n_batch = READ_AT_ONCE
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads or free_cores()
    params.n_gpu_layers = settings.gpu_layers
    # With repacked weights and flash attention, rounding depends on the batch size, so the cache would affect answers.
    params.no_extra_bufts = not settings.repack
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = not settings.exact
    params.cache_ram_mib = 0 if settings.exact else PROMPT_CACHE_MIB
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 3 if os.environ.get("AGENTFLOW_EMBEDDED_LOG") == "1" else -1
    log.info("Loading the embedded model %s", path.name)
    note_stage("loading the model")
    files = None if settings.exact else _prefix_files(path, xllamacpp, params)
    if files is not None:
        params.slot_save_path = f"{files.folder}/"
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ConfigError(
            f"llama.cpp cannot load {path} ({error}); it may be no GGUF model or need more memory "
            "(AGENTFLOW_EMBEDDED_LOG=1 shows its log)."
        ) from error
    note_stage("")
    root = str(server.listening_address)
    if files is None:
        return _Served(server, None)
    endpoint = Endpoint(root, timeout=_PREFIX_TIMEOUT, max_retries=0)
    return _Served(server, Prefixes(endpoint, files, settings.slots))


def _prefix_files(path: Path, xllamacpp: Any, params: Any) -> PrefixFiles | None:
    """The files of static beginnings for this model, build and machine; None if the cache is not writable."""
    from graph.models.download import cache_directory, digest_of

    folder = cache_directory() / "prefixes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = digest_of(path)
    except OSError as error:
        log.info("Static beginnings of prompts are not kept: %s cannot be written (%s).", folder, error)
        return None
    settings = (params.n_ctx, params.n_parallel, params.no_extra_bufts, params.flash_attn_type, params.kv_unified)
    cells = (params.cache_type_k, params.cache_type_v, params.n_gpu_layers)
    build = (xllamacpp.__version__, xllamacpp.BUILD_INFO, xllamacpp.get_system_info())
    return PrefixFiles(folder, repr((digest, settings, cells, build)))


def model_file(model: str) -> Path:
    """The file of a model, downloaded if it is a known one or on the Hub.

    Raises:
        ConfigError, DataError, ModelUnavailable: it is not available.
    """
    from graph.models.download import MODEL_FILES, fetch

    if model in MODEL_FILES:
        return fetch(MODEL_FILES[model])
    if (on_hub := HubModel.parse(model)) is not None and not Path(model).exists():
        return on_hub.get()
    path = _only_gguf(Path(model)) if Path(model).is_dir() else Path(model)
    if not path.is_file():
        raise ConfigError(
            f"There is no model file {path}; correct the path, use `embedded`, or name a server as "
            "MODEL@http://host:port/v1."
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"{path} is not a GGUF file; the embedded model needs one.")
    return path


def _only_gguf(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf")
    if len(files) == 1:
        return files[0]
    if files:
        raise ConfigError(f"{folder} contains {len(files)} GGUF files; name one, e.g. {files[0]}.")
    raise ConfigError(
        f"{folder} holds no GGUF file: export the run with `python -m training.export RUN --gguf`, or serve the folder "
        f"(`vllm serve {folder}`) and name it as MODEL@http://host:port/v1."
    )


@atexit.register
def _stop_servers() -> None:
    with _servers_lock:
        _servers.clear()
