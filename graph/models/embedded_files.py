"""What follows `embedded:` in a spec, and the GGUF file that it stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from graph.errors import ConfigError
from graph.models.hub import HubModel

DEFAULT_MODEL: Final = "1.5b"


def model_path_or_name(spec: str) -> str:
    """Normalise what follows `embedded:` in a spec: a known name, a model on the Hub, a GGUF file, or its folder.

    `OWNER/REPO[:QUANT]` and `OWNER/REPO/FILE.gguf` refer to the Hub unless such a path exists; the default is used if
    it is empty.

    Raises:
        ConfigError: it is none of these.
    """
    from graph.models.download import MODEL_FILES

    name = spec.strip().lower() or DEFAULT_MODEL
    if name in MODEL_FILES:
        return name
    path = Path(spec).expanduser()
    if HubModel.parse(spec) is not None and not os.path.exists(path):
        return spec.strip()
    if "/" in spec or spec.lower().endswith(".gguf"):
        return str(path.absolute())
    names = ", ".join(f"`embedded:{known}`" for known in MODEL_FILES)
    raise ConfigError(
        f"`embedded:{spec}` names no model; write {names}, `embedded:OWNER/REPO` "
        "for a GGUF model of the Hugging Face Hub, or `embedded:/path/to/model.gguf`."
    )


def model_file(model: str) -> Path:
    """The file of a model, downloaded if it is a known one or on the Hub.

    Raises:
        ConfigError, DataError, ModelUnavailable: it is not available.
    """
    from graph.models.download import MODEL_FILES, fetch

    if model in MODEL_FILES:
        return fetch(MODEL_FILES[model])
    if (on_hub := HubModel.parse(model)) is not None and not os.path.exists(model):
        return on_hub.get()
    path = _only_gguf(Path(model)) if os.path.isdir(model) else Path(model)
    if not os.path.isfile(path):  # False where no file can have the name
        raise ConfigError(
            f"There is no model file {path}; correct the path, use `embedded`, or name a server as "
            "MODEL@http://host:port/v1."
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"{path} is not a GGUF file; the embedded model needs one.")
    return path


def _only_gguf(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf")
    if len(files) == 1:
        return files[0]
    if files:
        raise ConfigError(f"{folder} contains {len(files)} GGUF files; name one, e.g. {files[0]}.")
    raise ConfigError(
        f"{folder} holds no GGUF file: export the run with `python -m training.export RUN --gguf`, or serve the folder "
        f"(`vllm serve {folder}`) and name it as MODEL@http://host:port/v1."
    )
