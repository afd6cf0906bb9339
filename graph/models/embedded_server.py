"""The llama.cpp servers of this process: one for each base model and settings, shared by all chats that name them.

A server is started by the first call that needs it, in a daemon thread, so that neither an event loop nor Ctrl-C ever
waits for a download, and runs in a process of its own (`graph.models.embedded_process`). It holds the adapters
(`graph.models.adapters`) of the chats that were made before. llama.cpp takes none later, so a chat with a new one has
the server started anew; the replaced server stops when its last request has ended. One that died is started anew too.
"""

from __future__ import annotations

import asyncio
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

from graph.errors import AgentFlowError, ConfigError, ModelUnavailable
from graph.models.adapters import Applied, adapter_header, check_adapter
from graph.models.connections import run_sync
from graph.models.cores import free_cores
from graph.models.download import cache_directory, digest_of
from graph.models.embedded_files import model_file
from graph.models.embedded_process import EmbeddedProcess, LoadingFailed, end_processes
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


@dataclass(frozen=True)
class Served:
    """A server of this process."""

    process: EmbeddedProcess
    """It ends when the last reference is dropped, also amid a reply."""
    root: str
    """The server's address, without `/v1`."""
    prefixes: Prefixes | None
    adapters: dict[str, str]
    """The digest of each adapter, by its path, in the order of llama.cpp's numbers."""

    def has(self, adapter: str) -> bool:
        """Whether it holds an adapter; none (empty) it always does."""
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
        if self.promise.exception() is not None:
            return False
        server = self.promise.result()
        return server.has(adapter) and not server.process.why_ended()


_Key = tuple[str, ServerSettings]
_servers: dict[_Key, _Start] = {}
_named: dict[_Key, dict[str, None]] = {}
"""The adapters that chats of a server have named, in order."""
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
    parameters = _parameters(xllamacpp, path, model, settings)
    if adapters:
        # llama.cpp does not tell with which adapter an evicted prompt was read (its issue 26207).
        parameters["cache_ram_mib"] = 0
    log.info("Loading the embedded model %s", path.name)
    note_stage("loading the model")
    files = None if settings.exact else _prefix_files(path, xllamacpp, parameters)
    if files is not None:
        parameters["slot_save_path"] = f"{files.folder}/"
    package = Path(str(xllamacpp.__file__)).parent.parent
    process = EmbeddedProcess(package, parameters, adapters, shows_log=_shows_log())
    try:
        root = process.address()
        endpoint = Endpoint(root, timeout=_PREFIX_TIMEOUT, max_retries=0)
        run_sync(post_json(endpoint, "/completion", {"prompt": "a", "n_predict": 0, "cache_prompt": False}))
    except (LoadingFailed, ModelUnavailable) as error:
        why = str(error) if isinstance(error, LoadingFailed) else process.why_ended(0.5) or error
        process.end()  # else the error, which is kept, keeps it
        raise ConfigError(
            f"llama.cpp cannot load {path} ({why}); it may be no GGUF model or need more memory "
            "(AGENTFLOW_EMBEDDED_LOG=1 shows its log)."
        ) from error
    note_stage("")
    prefixes = None if files is None else Prefixes(endpoint, files, settings.slots)
    return Served(process, root, prefixes, {adapter: digest_of(Path(adapter)) for adapter in adapters})


def _fits(adapter: str, base: Path, *, needed: bool) -> bool:
    """Whether an adapter can be loaded; one that is needed has to fit, any other is told when it is asked for."""
    try:
        check_adapter(Path(adapter), base)
    except ConfigError:
        if needed:
            raise
        return False
    return True


def _parameters(xllamacpp: Any, path: Path, model: str, settings: ServerSettings) -> dict[str, Any]:
    slots = 1 if settings.exact else settings.slots
    threads = settings.threads or free_cores()
    # With repacked weights, rounding depends on the batch size, so the cache would affect answers.
    reads_fast = "AVX512" in xllamacpp.get_system_info()
    return {
        "model": {"path": str(path)},
        "model_alias": [model],
        "n_parallel": slots,
        "n_ctx": slots * settings.context,
        "n_batch": READ_AT_ONCE,
        "cpuparams": {"n_threads": threads},
        "cpuparams_batch": {"n_threads": threads},
        "n_gpu_layers": settings.gpu_layers,
        "no_extra_bufts": reads_fast if settings.repack is None else not settings.repack,
        "cache_prompt": not settings.exact,
        "cache_ram_mib": 0 if settings.exact else PROMPT_CACHE_MIB,
        "warmup": False,  # `_start` sends a first request
        "fit_params": settings.gpu_layers < 0 and has_gpu(),  # reads the file once more, to count layers that fit
        "ui": False,
        "endpoint_slots": False,
        "verbosity": 3 if _shows_log() else -1,
    }


def _shows_log() -> bool:
    return os.environ.get("AGENTFLOW_EMBEDDED_LOG") == "1"


def has_gpu() -> bool:
    """Whether llama.cpp is built for a GPU of this machine."""
    try:
        devices = importlib.import_module("xllamacpp").get_device_info()
    except ImportError:
        return False
    return any(device["type"].name.endswith("GPU") for device in devices)


def _prefix_files(path: Path, xllamacpp: Any, parameters: dict[str, Any]) -> PrefixFiles | None:
    """The files of static beginnings for this model, build and machine; None if the cache is not writable."""
    folder = cache_directory() / "prefixes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = digest_of(path)
    except OSError as error:
        log.info("Static beginnings of prompts are not kept: %s cannot be written (%s).", folder, error)
        return None
    settings = [parameters[name] for name in ("n_ctx", "n_parallel", "no_extra_bufts", "n_gpu_layers")]
    build = (xllamacpp.__version__, xllamacpp.BUILD_INFO, xllamacpp.get_system_info())
    return PrefixFiles(folder, repr((digest, settings, build)))


def stop_servers() -> None:
    """Stop all servers; the next call starts one anew."""
    with _servers_lock:
        _servers.clear()
        _named.clear()
    end_processes()
