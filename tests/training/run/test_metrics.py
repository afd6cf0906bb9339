"""The file of metrics."""

from __future__ import annotations

from pathlib import Path

from training.run.metrics import MetricsFile, read_metrics


def test_damaged_lines_stop_no_resumed_run(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for update in (1, 2, 3):
        file.append({"update": update, "loss": 0.5})
    whole = file.path.read_bytes()
    file.path.write_bytes(b'\xff\xfe\n{"loss": 1}\n[1]\n{"update": "x"}\n' + whole + b'{"update": 4, "lo')
    file.discard_after(2)
    assert [line["update"] for line in read_metrics(file.path)] == [1, 2]
