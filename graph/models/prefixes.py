"""Static beginnings of prompts, read once on a machine: their keys and values are kept in files of the cache.

Every role's prompt begins with a system message that never changes: hundreds of tokens that a CPU reads for seconds,
in each process anew. llama.cpp can save what it has computed for a slot and restore it. It checks neither the bytes nor
the model, so a file's name carries everything that its content depends on: the digest of the model, the build, the
settings of the cache, the token ids, and a checksum of the file itself. Any doubt means that the prompt is read.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import BaseMessage, SystemMessage

from graph.errors import ModelError
from graph.models.progress import note_reading
from graph.models.server import Endpoint, post_json, post_stream

log = logging.getLogger(__name__)

LEAST_TOKENS: Final = 128
"""Shorter beginnings are read faster than it is worth to keep them."""
MOST_BYTES: Final = 2**29
"""Size of all kept files; the ones used longest ago go first. The 1.5B model takes 28 KB a token."""
_SUFFIX: Final = ".kv"
_CHECKSUM_DIGITS: Final = 32


class PrefixFiles:
    """The kept files of one server's settings.

    Args:
        folder: where they are; llama.cpp saves into it and restores from it.
        fingerprint: everything but the token ids that a file's content depends on.
        most_bytes: size of all files in the folder.
    """

    def __init__(self, folder: Path, fingerprint: str, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._fingerprint = fingerprint.encode()
        self._most_bytes = most_bytes

    def key(self, ids: Sequence[int]) -> str:
        """The first part of a file's name."""
        tokens = struct.pack(f"<{len(ids)}q", *ids)
        return hashlib.sha256(self._fingerprint + b"\0" + tokens).hexdigest()[:40]

    def intact(self, key: str) -> str | None:
        """The name of the file of a key if its bytes are those that were written; a damaged one is deleted."""
        for path in self.folder.glob(f"{key}.*{_SUFFIX}"):
            try:
                if path.name == _name(key, path):
                    os.utime(path)
                    return path.name
                log.info("The prompt cache %s is damaged and was deleted.", path)
                path.unlink(missing_ok=True)
            except OSError as error:
                log.info("The prompt cache %s cannot be used (%s).", path, error)
        return None

    def keep(self, saved: Path, key: str) -> None:
        """Give a file that llama.cpp has just written its name, and drop the ones that no longer have room."""
        saved.replace(self.folder / _name(key, saved))
        kept = sorted(self.folder.glob(f"*{_SUFFIX}"), key=_last_use, reverse=True)
        size = 0
        for path in kept:
            with suppress(OSError):
                size += path.stat().st_size
                if size > self._most_bytes:
                    path.unlink()

    def drop(self, name: str) -> None:
        """Delete a file that llama.cpp refuses."""
        (self.folder / name).unlink(missing_ok=True)


class Prefixes:
    """The static beginnings that one server has read.

    Args:
        endpoint: the server's root, above `/v1`.
        files: what is kept on disk.
        slots: how many slots the server has; beginnings are spread over them.
    """

    def __init__(self, endpoint: Endpoint, files: PrefixFiles, slots: int) -> None:
        self._endpoint = endpoint
        self._files = files
        self._slots = slots
        self._begun: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    async def ensure(self, messages: Sequence[BaseMessage]) -> None:
        """Have the beginning of a prompt in a slot before the prompt is sent: from its file, or read and kept.

        Nothing happens for a prompt without a system message, nor for a beginning that this server has read before.
        Whoever comes while it is being read waits.
        """
        if len(messages) < 2 or not isinstance(messages[0], SystemMessage):
            return
        system = str(messages[0].text)
        with self._lock:
            reading = self._begun.get(system)
            mine = reading is None
            if reading is None:
                reading = self._begun[system] = Future()
            slot = (len(self._begun) - 1) % self._slots
        if not mine:
            await asyncio.shield(asyncio.wrap_future(reading))
            return
        try:
            await self._read(system, slot)
        except (ModelError, OSError, KeyError, TypeError) as error:
            log.info("A prompt's static beginning could not be kept (%s).", error)
        finally:
            reading.set_result(None)

    async def _read(self, system: str, slot: int) -> None:
        ids = await self._static_ids(system)
        if len(ids) < LEAST_TOKENS:
            return
        key = self._files.key(ids)
        name = await asyncio.to_thread(self._files.intact, key)
        if name is not None and await self._restored(name, slot, len(ids)):
            return
        await self._fill(slot, ids)
        temporary = f"{key}.{os.getpid()}.tmp"
        saved = await self._post(f"/slots/{slot}?action=save", {"filename": temporary})
        path = self._files.folder / temporary
        if saved["n_saved"] == len(ids):
            await asyncio.to_thread(self._files.keep, path, key)
        else:  # another request took the slot in between
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _fill(self, slot: int, ids: list[int]) -> None:
        """Read tokens into a slot, and tell those who watch how far it is."""
        body = {"prompt": ids, "n_predict": 0, "id_slot": slot, "cache_prompt": True}
        body |= {"stream": True, "return_progress": True}
        async with aclosing(post_stream(self._endpoint, "/completion", body)) as events:
            async for event in events:
                note_reading(event)
                if event.get("stop"):  # llama.cpp's own interface ends its streams without a mark
                    return

    async def _restored(self, name: str, slot: int, count: int) -> bool:
        """Whether a file could be restored into a slot."""
        try:
            restored = await self._post(f"/slots/{slot}?action=restore", {"filename": name})
        except ModelError as error:
            log.info("llama.cpp refuses the prompt cache %s (%s).", name, error)
            await asyncio.to_thread(self._files.drop, name)
            return False
        return bool(restored["n_restored"] == count)

    async def _static_ids(self, system: str) -> list[int]:
        """The token ids that every prompt with this system message begins with.

        Two prompts are compared, so that a template may put anything around the messages, and a token that reaches over
        the border is no part of it.
        """
        one, other = [await self._ids(system, user) for user in ("Question: 1", "As I said")]
        length = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
        return one[:length]

    async def _ids(self, system: str, user: str) -> list[int]:
        chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        prompt = (await self._post("/apply-template", {"messages": chat}))["prompt"]
        tokens = await self._post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
        return [int(token) for token in tokens["tokens"]]

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await post_json(self._endpoint, path, body)


def _name(key: str, path: Path) -> str:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()[:_CHECKSUM_DIGITS]
    return f"{key}.{checksum}{_SUFFIX}"


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
