"""A disk cache for the static beginnings of prompts, so that each is read only once per machine.

Every role's prompt begins with a constant system message, and some with examples after it: hundreds of tokens that take
a CPU seconds to read, again in every process. llama.cpp can save the keys and values of a slot and restore them. It
verifies neither the bytes nor the model, so the file name includes everything the content depends on: the digests of
the model and of the adapter, the build, the cache settings, the token ids, and a checksum of the file itself. If
anything does not match, the prompt is read as usual.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, TypeAlias

from langchain_core.messages import BaseMessage, SystemMessage

from graph.errors import ModelError
from graph.models.adapters import Applied
from graph.models.progress import note_reading
from graph.models.server import Endpoint, post_json, post_stream
from graph.prompts.examples import is_example

log = logging.getLogger(__name__)

LEAST_TOKENS: Final = 64
"""Shorter beginnings are not worth saving."""
MOST_BYTES: Final = 2**29
"""Total size of the files; the least recently used are deleted first. The 1.5B model needs 28 KB per token."""
_SUFFIX: Final = ".kv"
_CHECKSUM_DIGITS: Final = 32
_BASE: Final = Applied()
_ROLES: Final = {"system": "system", "human": "user", "ai": "assistant"}

Chat: TypeAlias = tuple[tuple[str, str], ...]
"""Messages, each with its role and its text."""


@dataclass(frozen=True)
class Reading:
    """What it took to read a static beginning; nothing if it was known."""

    tokens: int = 0
    milliseconds: float = 0.0


class PrefixFiles:
    """The saved files for one server's settings.

    Args:
        folder: Their folder, which llama.cpp reads and writes.
        fingerprint: Everything but the token ids that a file's content depends on.
        most_bytes: Maximum total size of the folder.
    """

    def __init__(self, folder: Path, fingerprint: str, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._fingerprint = fingerprint.encode()
        self._most_bytes = most_bytes

    def key(self, ids: Sequence[int], adapter: str = "") -> str:
        """First part of a file's name.

        Args:
            ids: The tokens.
            adapter: Digest of the adapter with which they were read; empty: none.
        """
        tokens = struct.pack(f"<{len(ids)}q", *ids)
        read_with = self._fingerprint + (b"\0" + adapter.encode() if adapter else b"")
        return hashlib.sha256(read_with + b"\0" + tokens).hexdigest()[:40]

    def intact(self, key: str) -> str | None:
        """The file name for a key, if the file is intact; a damaged file is deleted."""
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
        """Name a file that llama.cpp has just written, and delete files beyond the size limit.

        Unfinished files count too: a process that was cut off while it saved has left one behind.
        """
        saved.replace(self.folder / _name(key, saved))
        files = sorted(self.folder.iterdir(), key=_last_use, reverse=True)
        size = 0
        for path in files:
            with suppress(OSError):
                size += path.stat().st_size
                if size > self._most_bytes:
                    path.unlink()

    def drop(self, name: str) -> None:
        """Delete a file that llama.cpp rejects."""
        (self.folder / name).unlink(missing_ok=True)


class Prefixes:
    """The static beginnings that a server has read.

    Args:
        endpoint: The server's root, without `/v1`.
        files: The files on disk.
        slots: Number of slots, over which the beginnings are distributed.
    """

    def __init__(self, endpoint: Endpoint, files: PrefixFiles, slots: int) -> None:
        self._endpoint = endpoint
        self._files = files
        self._slots = slots
        self._begun: dict[tuple[Chat, str], Future[None]] = {}
        self._slot_of: dict[tuple[Chat, str], int] = {}
        self._lock = threading.Lock()

    async def ensure(self, messages: Sequence[BaseMessage], applied: Applied = _BASE) -> Reading:
        """Load the beginning of a prompt into a slot before the prompt is sent: from its file, or by reading it.

        Args:
            messages: The prompt.
            applied: The adapter with which it is to be read.

        The beginning is the system message and the examples after it (`is_example`). Does nothing for a prompt without
        a system message, or if this server has read the beginning before. Concurrent callers wait until it is read;
        only the first is told what it took. If that one is cancelled, the next prompt reads the beginning again, into
        the same slot.
        """
        if len(messages) < 2 or not isinstance(messages[0], SystemMessage):
            return Reading()
        static = [messages[0], *takewhile(is_example, messages[1:])]
        chat = tuple((_ROLES[message.type], str(message.text)) for message in static)
        beginning = (chat, applied.digest)
        with self._lock:
            reading = self._begun.get(beginning)
            mine = reading is None
            if reading is None:
                reading = self._begun[beginning] = Future()
            slot = self._slot_of.setdefault(beginning, len(self._slot_of) % self._slots)
        if not mine:
            await asyncio.shield(asyncio.wrap_future(reading))
            return Reading()
        try:
            return await self._read(chat, slot, applied)
        except (ModelError, OSError, KeyError, TypeError) as error:
            log.info("A prompt's static beginning could not be kept (%s).", error)
            return Reading()
        except asyncio.CancelledError:
            with self._lock:
                del self._begun[beginning]
            raise
        finally:
            reading.set_result(None)

    async def _read(self, chat: Chat, slot: int, applied: Applied) -> Reading:
        ids = await self._static_ids(chat)
        if len(ids) < LEAST_TOKENS:
            return Reading()
        key = self._files.key(ids, applied.digest)
        name = await asyncio.to_thread(self._files.intact, key)
        if name is not None and await self._restored(name, slot, ids, applied):
            return Reading()
        began = time.perf_counter()
        await self._fill(slot, ids, applied)
        reading = Reading(len(ids), 1000 * (time.perf_counter() - began))
        temporary = f"{key}.{os.getpid()}.tmp"
        saved = await self._post(f"/slots/{slot}?action=save", {"filename": temporary})
        path = self._files.folder / temporary
        if saved["n_saved"] == len(ids):
            await asyncio.to_thread(self._files.keep, path, key)
        else:  # another request has taken the slot
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return reading

    async def _fill(self, slot: int, ids: list[int], applied: Applied) -> None:
        """Read tokens into a slot and report the progress to listeners."""
        body = {"prompt": ids, "n_predict": 0, "id_slot": slot, "cache_prompt": True, **applied.fields}
        body |= {"stream": True, "return_progress": True}
        async with aclosing(post_stream(self._endpoint, "/completion", body)) as events:
            async for event in events:
                note_reading(event)
                if event.get("stop"):  # llama.cpp's own interface has no end marker
                    return

    async def _restored(self, name: str, slot: int, ids: list[int], applied: Applied) -> bool:
        """Restore a file into a slot; returns whether that worked.

        A slot remembers the adapter of its last request, and a file does not: on a server with adapters a request of
        one token names it before, and one that only reads the last token anew shows afterwards that it still holds.
        """
        try:
            if applied.fields:
                await self._fill(slot, ids[:1], applied)
            restored = await self._post(f"/slots/{slot}?action=restore", {"filename": name})
            if applied.fields:
                await self._fill(slot, ids, applied)
        except ModelError as error:
            log.info("llama.cpp refuses the prompt cache %s (%s).", name, error)
            await asyncio.to_thread(self._files.drop, name)
            return False
        return bool(restored["n_restored"] == len(ids))

    async def _static_ids(self, chat: Chat) -> list[int]:
        """The common token ids of all prompts with this beginning.

        They are found by comparing two prompts, so the template may add anything around the messages, and a token that
        crosses the boundary is excluded.
        """
        one, other = [await self._ids(chat, user) for user in ("Question: 1", "As I said")]
        length = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
        return one[:length]

    async def _ids(self, chat: Chat, user: str) -> list[int]:
        messages = [{"role": role, "content": text} for role, text in (*chat, ("user", user))]
        prompt = (await self._post("/apply-template", {"messages": messages}))["prompt"]
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
