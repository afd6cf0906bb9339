"""Read a data file as a list of rows: JSON Lines, a JSON list, CSV or parquet, told apart by the name's ending.

Every fault is one `DataError` that names the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.errors import ConfigError, DataError
from tools.text import well_formed_value

Row = Mapping[str, Any]

ENDINGS = (".jsonl", ".json", ".parquet", ".csv")


def read_rows(path: Path) -> list[Row]:
    """All rows of a data file, in order.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or not what its name says.
        ConfigError: a parquet file is given but `pyarrow` is not installed.
    """
    if not path.is_file():
        raise DataError(f"There is no data file at {path}; check the path.")
    match path.suffix.lower():
        case ".jsonl":
            rows = _read_jsonl(path)
        case ".json":
            rows = _read_json(path)
        case ".csv":
            rows = _read_csv(path)
        case ".parquet":
            rows = _read_parquet(path)
        case other:
            raise DataError(f"{path} ends in {other or 'nothing'!r}; a data file ends in one of {', '.join(ENDINGS)}.")
    if not rows:
        raise DataError(f"{path} holds no rows; give a file with at least one.")
    try:
        return [well_formed_value(row) for row in rows]
    except RecursionError:
        raise DataError(f"{path} is nested too deeply; write texts, or lists of texts.") from None


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 throughout (first at line {line}); convert the file to UTF-8.") from None


def _read_jsonl(path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}, is not JSON ({_cause(error, in_line=True)}); mend or remove that line."
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}, is no JSON object; write one object with named fields a line.")
        rows.append(row)
    return rows


def _read_json(path: Path) -> list[Row]:
    text = _read_text(path)
    if not text.strip():
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({_cause(error)}); JSON Lines files must end in .jsonl.") from None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise DataError(f"{path} must hold one JSON list of objects, one object a question.")
    return data


def _cause(error: ValueError | RecursionError, *, in_line: bool = False) -> str:
    if isinstance(error, json.JSONDecodeError):
        line = "" if in_line else f"line {error.lineno}, "
        return f"{error.msg} at {line}column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _read_csv(path: Path) -> list[Row]:
    csv.field_size_limit(2**31 - 1)  # else 128 KiB a cell, and questions come with long texts
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows: list[Row] = []
    try:
        for row in reader:
            if None in row:  # cells beyond those that the first line names
                raise DataError(
                    f"{path}, line {reader.line_num}, has more cells than the first line names columns; put texts "
                    'that hold commas in double quotes, "like, this".'
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path} is not a well-formed CSV file ({error}).") from None
    return rows


def _read_parquet(path: Path) -> list[Row]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(f"{path} is a parquet file, which needs pyarrow: run `pip install pyarrow`.") from None
    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]}).") from None
    return rows
