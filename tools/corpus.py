"""A user's own corpus: a JSONL file, a text or Markdown file, or a folder of these, read as passages."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from tools.counts import kind_of, many
from tools.passages import Passage, split_passages
from tools.text import well_formed, well_formed_value

log = logging.getLogger(__name__)

TEXT_SUFFIXES = (".md", ".markdown", ".txt", ".text", ".rst")
LONGEST_PASSAGE = 2000
"""Characters above which a text is cut into passages of half that size, so that a search finds the right part."""

_KINDS = 6
"""Kinds of files left out that are named."""

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)


def fingerprint(corpus: Path) -> str:
    """A SHA-256 over the corpus' file names and contents; equal for equal corpora, wherever they lie.

    Raises:
        ValueError: there is nothing there, or a folder holds no text file.
    """
    digest = hashlib.sha256()
    for path in _files(corpus):
        name = path.relative_to(corpus).as_posix() if corpus.is_dir() else path.name if _is_text(path) else ""
        content = path.read_bytes()
        digest.update(f"{len(name)} {name} {len(content)} ".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def read_corpus(corpus: Path) -> list[Passage]:
    """The passages of a corpus, in its own order.

    Args:
        corpus: A JSONL file, one object a line with `text` and, if wanted, `title` and `id`; a file that ends in .md,
            .markdown, .txt, .text or .rst; or a folder, searched through all its levels for such files (hidden ones
            left out).

    Raises:
        ValueError: what is wrong, with file and line, and what to do about it.
    """
    if corpus.is_dir():
        passages = [passage for path in _files(corpus) for passage in _read_text(path, corpus)]
        _tell_left_out(corpus)
    else:
        (path,) = _files(corpus)
        passages = [*_read_text(path, path.parent)] if _is_text(path) else [*_read_jsonl(path)]
    if not passages:
        raise ValueError(f"The corpus {corpus} holds no text. Give it at least one passage.")
    return passages


def _files(corpus: Path) -> list[Path]:
    if corpus.is_dir():
        found = sorted(path for path in _visible(corpus) if _is_text(path))
        if not found:
            raise ValueError(
                f"The folder {corpus} holds no text file: add files that end in {', '.join(TEXT_SUFFIXES)}."
            )
        return found
    if not corpus.is_file():
        raise ValueError(f"There is no corpus at {corpus}. Give a JSONL file or a folder of text or Markdown files.")
    return [corpus]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in TEXT_SUFFIXES


def _visible(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _tell_left_out(folder: Path) -> None:
    others = [path.suffix.lower() or path.name for path in _visible(folder) if not _is_text(path)]
    if others:
        kinds = sorted(set(others))
        named = ", ".join(kinds[:_KINDS]) + (", ..." if len(kinds) > _KINDS else "")
        verb = "was" if len(others) == 1 else "were"
        log.warning("%s: %s of other kinds %s left out (%s).", folder, many(len(others), "file"), verb, named)


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        log.warning("%s: not UTF-8 text (byte %d); what cannot be read is shown as �.", where, error.start)
        return raw.decode("utf-8-sig", "replace")


def _read_jsonl(path: Path) -> Iterator[Passage]:
    whole = path.read_bytes()
    if path.suffix.lower() != ".jsonl" and not whole.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise ValueError(
            f"The corpus {path} can be neither JSONL nor text: give a JSONL file, a file that ends in "
            f"{', '.join(TEXT_SUFFIXES)}, or a folder of such files."
        )
    for number, raw in enumerate(whole.split(b"\n"), start=1):
        if raw.strip():
            yield from _passages_of_line(_decode(raw, f"{path}, line {number}"), path, number)


def _passages_of_line(line: str, path: Path, number: int) -> Iterator[Passage]:
    where = f"{path}, line {number}"
    wanted = 'Write one object a line, like {"id": "1", "title": "...", "text": "..."}.'
    try:
        entry = well_formed_value(json.loads(line))
    except (ValueError, RecursionError) as error:
        cause = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise ValueError(f"{where}: not valid JSON ({cause}). {wanted}") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: a JSON {type(entry).__name__}, not an object. {wanted}")
    text, title, key = entry.get("text"), entry.get("title", ""), entry.get("id", number)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{where}: no "text", or it is empty or no string. {wanted}')
    if not isinstance(title, str):
        raise ValueError(f'{where}: "title" is {kind_of(title)}, not a string. {wanted}')
    if not isinstance(key, str | int):
        raise ValueError(f'{where}: "id" is {kind_of(key)}, not a string or a whole number. {wanted}')
    for piece in _pieces(text):
        yield Passage(title=title or str(key), text=piece, source=f"{well_formed(path.name)}#{key}")


def _read_text(path: Path, root: Path) -> Iterator[Passage]:
    name = well_formed(path.relative_to(root).as_posix())
    text = well_formed(_decode(path.read_bytes(), str(path)))
    heading = _HEADING.search(text) if path.suffix.lower() in (".md", ".markdown") else None
    title = heading.group(1) if heading else well_formed(path.stem).replace("_", " ").replace("-", " ")
    for piece in split_passages(text, LONGEST_PASSAGE // 2):
        yield Passage(title=title, text=piece, source=name)


def _pieces(text: str) -> list[str]:
    return [text] if len(text) <= LONGEST_PASSAGE else split_passages(text, LONGEST_PASSAGE // 2)
