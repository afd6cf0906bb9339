"""Dequantised copies of GGUF files, in Hub format: converting takes a minute or more, loading a copy takes seconds.

A copy is known by the digest of its file, by the type of its weights, and by the version of transformers that made it.
Writing one is atomic. The newest few are kept: see `KEPT`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from safetensors import SafetensorError

from graph.models.download import cache_directory, digest_of
from training.run.checkpoints import let_others_read, put

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

KEPT = 4
"""Copies that stay in the cache; those that were used last."""


def copy_of(file: Path, dtype: str) -> Path | None:
    """The folder with the copy of a GGUF file, if it has been made.

    Args:
        file: the GGUF file.
        dtype: of the weights, a torch name.
    """
    folder = _folder(file, dtype)
    if not folder.is_dir():
        return None
    with suppress(OSError):  # a cache that cannot be written still serves
        os.utime(folder)
    return folder


def keep_copy(file: Path, dtype: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Keeps what a GGUF file was converted to. Where that is not possible, the next load converts again.

    Args:
        file: the GGUF file.
        dtype: of the weights, a torch name.
        model: what it holds.
        tokenizer: the same.
    """
    folder = _folder(file, dtype)
    staged = folder.with_name(f"{folder.name}.partial")
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        if shutil.disk_usage(staged).free < 2 * size:
            logger.info("%s is not kept dequantised: there is little room in %s.", file, folder.parent)
            return
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        let_others_read(staged)
        put(staged, folder)
        _drop_oldest(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        logger.info("%s is not kept dequantised in %s: %s.", file, folder.parent, error)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def alone(file: Path, dtype: str) -> Iterator[None]:
    """Inside, no other process converts this file: it waits, and finds the copy."""
    folder = _folder(file, dtype)
    lock = folder.parent / f"{folder.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError:  # nothing can be kept there either
        held: FileLock | nullcontext[None] = nullcontext()
    else:
        held = FileLock(lock)
    with held:
        yield


def _folder(file: Path, dtype: str) -> Path:
    from transformers import __version__

    return cache_directory() / "dequantised" / f"{digest_of(file)[:32]}-{dtype}-{__version__}"


def _drop_oldest(cache: Path) -> None:
    copies = [path for path in cache.iterdir() if path.is_dir() and not path.name.endswith(".partial")]
    copies.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in copies[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
