"""A small cache of bytes in files.

Why not an HTTP cache: those honour `Cache-Control`, and MediaWiki marks every API answer as stale at once. Asking again
within the day for what was just fetched is the impolite thing here, so age alone decides.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path

logger = logging.getLogger(__name__)

DAY = 86_400.0


def cache_home() -> Path:
    """This project's folder in the user's cache directory."""
    from platformdirs import user_cache_path

    return user_cache_path("agentflow")


class FileCache:
    """Values by key, each in a file of its own, valid for `max_age` seconds.

    A write appears whole or not at all, so any number of processes may share the folder. A cache that cannot be written
    is no error: the value is fetched again next time. All methods block; call them from a thread in async code.
    """

    def __init__(self, directory: Path, *, max_age: float = DAY) -> None:
        self.directory = directory
        self.max_age = max_age
        self._pruned = False

    def _path(self, key: str) -> Path:
        return self.directory / hashlib.sha256(key.encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """The value kept under `key`, or None if there is none or it is too old."""
        path = self._path(key)
        try:
            if time.time() - path.stat().st_mtime > self.max_age:
                return None
            return path.read_bytes()
        except OSError:
            return None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self._pruned:
                self._pruned = True
                self._prune()
            descriptor, staging = tempfile.mkstemp(dir=self.directory, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(value)
                os.replace(staging, self._path(key))
            except OSError:
                os.unlink(staging)
                raise
        except OSError as error:
            logger.warning("nothing is kept in %s: %s", self.directory, error)

    def _prune(self) -> None:
        """Remove what is too old; once a process, so that the folder holds about a day's worth."""
        oldest = time.time() - self.max_age
        for path in self.directory.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process was quicker
