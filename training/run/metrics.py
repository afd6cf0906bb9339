"""The metrics of a run, as a file of JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.errors import DataError


class MetricsFile:
    """`metrics.jsonl` of a run: one line per logged step, readable while the run goes on. `alarms.jsonl` is another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line."""
        line = json.dumps(record, default=float) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def discard_after(self, update: int) -> None:
        """Drop the lines after a checkpoint's update: a resumed run writes them again."""
        if not self.path.exists():
            return
        kept = [line for line in read_metrics(self.path) if line["update"] <= update]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(self.path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, without those that are damaged or name no update.

    Raises:
        DataError: there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"The metrics {path} cannot be read ({error.strerror}); name a run's folder.") from None
    lines = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("update"), int):
            lines.append(record)
    return lines
