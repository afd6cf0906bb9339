"""The llama.cpp servers of this process: one for each base model and settings, shared by all chats that name them.

A server is started by the first call that needs it, in a daemon thread, so that neither an event loop nor Ctrl-C ever
waits for a download. It holds the adapters (`graph.models.adapters`) of the chats that were made before. llama.cpp
takes none later, so a chat with a new one has the server started anew; the replaced server stops when its last request
has ended.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import threading
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from graph.errors import AgentFlowError, ConfigError
from graph.models.adapters import Applied, adapter_header, check_adapter
from graph.models.connections import run_sync
from graph.models.cores import free_cores
from graph.models.download import cache_directory, digest_of
from graph.models.embedded_files import model_file
from graph.models.prefixes import Prefixes, PrefixFiles
from graph.models.progress import note_stage
from graph.models.server import Endpoint, post_json
from graph.models.server_settings import ServerSettings

log = logging.getLogger(__name__)

_PREFIX_TIMEOUT: Final = 600.0
"""Time limit for reading a static beginning, in seconds; a slow CPU reads ten tokens per second."""

PROMPT_CACHE_MIB: Final = 2048
"""Host memory for evicted prompts: about 70,000 tokens of the 1.5B model."""
READ_AT_ONCE: Final = 128
"""Prompt tokens per progress report; larger batches are no faster on a CPU."""


@dataclass(eq=False)
class Served:
    """A server in this process."""

    server: Any
    """The `xllamacpp.Server`, and the only reference to it: it stops when that is dropped, also amid a reply."""
    prefixes: Prefixes | None
    adapters: dict[str, str]
    """The digest of each adapter, by its path, in the order of llama.cpp's numbers."""
    root: str = field(init=False)
    """Its address, without `/v1`."""

    def __post_init__(self) -> None:
        self.root = str(self.server.listening_address)

    def stop(self) -> None:
        """Stop it; requests in progress fail."""
        self.server = None

    def has(self, adapter: str) -> bool:
        """Whether it can answer with an adapter; with none (empty) it always can."""
        return not adapter or adapter in self.adapters

    def applied(self, adapter: str) -> Applied:
        """How a request is computed with one of the adapters, or with none (empty)."""
        return Applied(tuple(self.adapters), adapter, self.adapters.get(adapter, ""))


@dataclass(frozen=True)
class _Start:
    """A server that was started."""

    adapters: tuple[str, ...]
    """Those it will hold, as far as they fit."""
    wanted: str
    """The adapter of the chat that had it started."""
    promise: Future[Served] = field(default_factory=Future)

    def serves(self, adapter: str) -> bool:
        if not self.promise.done():
            return not adapter or adapter in self.adapters
        return self.promise.exception() is None and self.promise.result().has(adapter)


_Key = tuple[str, ServerSettings]
_servers: dict[_Key, _Start] = {}
_named: dict[_Key, dict[str, None]] = {}
"""The adapters that chats of a server have named, in order."""
_running: WeakSet[Served] = WeakSet()
"""All servers that are held, also the replaced ones."""
_servers_lock = threading.Lock()


def name_adapter(model: str, settings: ServerSettings, adapter: str) -> None:
    """Have the next server of a model hold an adapter from the beginning; see `served`."""
    with _servers_lock:
        _named.setdefault((model, settings), {})[adapter] = None


async def served(model: str, settings: ServerSettings, adapter: str = "") -> Served:
    """The server of a model.

    Args:
        model: As in `EmbeddedChat.model`.
        settings: Of the server.
        adapter: Path of an adapter that it must hold; empty: none.

    Raises:
        ConfigError, DataError, ModelUnavailable: the model or the adapter is not available or cannot be loaded.
    """
    while True:
        start = _started((model, settings), adapter)
        try:
            # Shielded: that one caller gives up must not cancel the start for the others.
            finished = start.promise.done()
            server = start.promise.result() if finished else await asyncio.shield(asyncio.wrap_future(start.promise))
        except AgentFlowError:
            if start.wanted == adapter:
                raise
            continue  # another chat's adapter was at fault
        if server.has(adapter):
            return server


def _started(key: _Key, adapter: str) -> _Start:
    """The running or starting server that holds an adapter; the first caller starts it."""
    with _servers_lock:
        running = _servers.get(key)
        if running is not None and running.serves(adapter):
            return running
        adapters = _named.setdefault(key, {})
        if adapter:
            adapters[adapter] = None
        start = _servers[key] = _Start(tuple(adapters), adapter)
        work = partial(copy_context().run, _fulfil, start, *key)  # listeners are informed about the start
        threading.Thread(target=work, name="embedded-model", daemon=True).start()
        return start


def _fulfil(start: _Start, model: str, settings: ServerSettings) -> None:
    try:
        server = _start(start, model, settings)
    except Exception as error:  # noqa: BLE001 -- handed to the callers that wait
        start.promise.set_exception(error)
    else:
        with _servers_lock:
            _running.add(server)
        start.promise.set_result(server)


def _start(start: _Start, model: str, settings: ServerSettings) -> Served:
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ConfigError(
            "The embedded model needs the package xllamacpp; install it with "
            "`pip install xllamacpp` or name another model."
        ) from error
    if start.wanted:
        adapter_header(Path(start.wanted))  # before a download
    path = model_file(model)
    adapters = [adapter for adapter in start.adapters if _fits(adapter, path, needed=adapter == start.wanted)]
    params = _parameters(xllamacpp, path, model, settings)
    if adapters:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 0.0) for adapter in adapters]
        # llama.cpp does not tell with which adapter an evicted prompt was read (its issue 26207).
        params.cache_ram_mib = 0
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
    endpoint = Endpoint(str(server.listening_address), timeout=_PREFIX_TIMEOUT, max_retries=0)
    # A server that is dropped before it has begun to serve never ends, and holds the interpreter while it does not.
    run_sync(post_json(endpoint, "/completion", {"prompt": "a", "n_predict": 0, "cache_prompt": False}))
    note_stage("")
    digests = {adapter: digest_of(Path(adapter)) for adapter in adapters}
    if files is None:
        return Served(server, None, digests)
    return Served(server, Prefixes(endpoint, files, settings.slots), digests)


def _fits(adapter: str, base: Path, *, needed: bool) -> bool:
    """Whether an adapter can be loaded; one that is needed has to fit, any other is told when it is asked for."""
    try:
        check_adapter(Path(adapter), base)
    except ConfigError:
        if needed:
            raise
        return False
    return True


def _parameters(xllamacpp: Any, path: Path, model: str, settings: ServerSettings) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {model}
    params.n_parallel = 1 if settings.exact else settings.slots
    params.n_ctx = params.n_parallel * settings.context
    params.n_batch = READ_AT_ONCE
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads or free_cores()
    params.n_gpu_layers = settings.gpu_layers
    # With repacked weights and flash attention, rounding depends on the batch size, so the cache would affect answers.
    reads_fast = "AVX512" in xllamacpp.get_system_info()
    params.no_extra_bufts = reads_fast if settings.repack is None else not settings.repack
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = not settings.exact
    params.cache_ram_mib = 0 if settings.exact else PROMPT_CACHE_MIB
    params.warmup = False  # `_start` sends a first request
    params.fit_params = settings.gpu_layers < 0 and has_gpu()  # reads the file once more, to count layers that fit
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 3 if os.environ.get("AGENTFLOW_EMBEDDED_LOG") == "1" else -1
    return params


def has_gpu() -> bool:
    """Whether llama.cpp is built for a GPU of this machine."""
    try:
        devices = importlib.import_module("xllamacpp").get_device_info()
    except ImportError:
        return False
    return any(device["type"].name.endswith("GPU") for device in devices)


def _prefix_files(path: Path, xllamacpp: Any, params: Any) -> PrefixFiles | None:
    """The files of static beginnings for this model, build and machine; None if the cache is not writable."""
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


@atexit.register
def stop_servers() -> None:
    """Stop all servers; llama.cpp's threads must not outlive the process's memory."""
    with _servers_lock:
        _servers.clear()
        _named.clear()
        running = list(_running)
    for server in running:
        server.stop()
