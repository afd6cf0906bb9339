"""The texts of token ids, if a training run's folder has a tokenizer.

Training uses ids; texts are for readers. The tokenizer comes from the newest checkpoint; before the first checkpoint,
or without the package `tokenizers`, only ids are shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.stored import real_path

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_FILE = "tokenizer.json"


class TokenTexts:
    """Decodes the token ids of one training run.

    Args:
        folder: The run's folder, or one inside it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer: Any = None
        self._lock = threading.Lock()

    def text(self, ids: Sequence[int]) -> str | None:
        """The text of all ids, including special tokens; None without a tokenizer."""
        tokenizer = self._loaded()
        return None if tokenizer is None else str(tokenizer.decode(list(ids), skip_special_tokens=False))

    def pieces(self, ids: Sequence[int]) -> list[str] | None:
        """The text that each id adds; a character of several tokens appears at the last one."""
        tokenizer = self._loaded()
        if tokenizer is None:
            return None
        pieces, before = [], ""
        for end in range(1, len(ids) + 1):
            now = tokenizer.decode(list(ids[:end]), skip_special_tokens=False).rstrip("\N{REPLACEMENT CHARACTER}")
            pieces.append(now[len(before) :] if now.startswith(before) else "")
            before = now if now.startswith(before) else before
        return pieces

    def _loaded(self) -> Any:
        with self._lock:
            if self._tokenizer is None and (path := self._file()) is not None:
                try:
                    from tokenizers import Tokenizer

                    self._tokenizer = Tokenizer.from_file(str(path))
                except Exception:  # noqa: BLE001 - the library raises its own bare Exception for a damaged file
                    return None
            return self._tokenizer

    def _file(self) -> Path | None:
        for folder in (self._folder, self._folder.parent):
            if not folder.is_dir():
                continue
            steps = [(int(match[1]), path) for path in folder.iterdir() if (match := _CHECKPOINT.fullmatch(path.name))]
            homes = [folder / "final", *(path for _, path in sorted(steps, reverse=True))]
            file = next((home / _FILE for home in homes if (home / _FILE).is_file()), None)
            if file is not None and real_path(file).is_relative_to(real_path(folder)):
                return file
        return None
