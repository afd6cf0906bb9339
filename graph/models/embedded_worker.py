"""The process that serves an embedded model: llama.cpp, and nothing of this project.

`graph.models.embedded_process` runs this file by its path. It reads a request (one line of JSON: `package`, the folder
that holds xllamacpp, `parameters` and `adapters`), answers with one line of JSON (`address`, or `error`), and serves
until its standard input ends: that is, until the process that started it ends it or ends itself, however that happens.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any


def main() -> None:
    """Serve one model."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints is no answer
    request = json.loads(sys.stdin.readline())
    sys.path.append(request["package"])
    xllamacpp = importlib.import_module("xllamacpp")
    try:
        server = xllamacpp.Server(_params(xllamacpp, request["parameters"], request["adapters"]))
    except RuntimeError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)
        return
    print(json.dumps({"address": server.listening_address}), file=answers, flush=True)
    sys.stdin.read()
    os._exit(0)  # replies in progress are not waited for


def _params(xllamacpp: Any, parameters: dict[str, Any], adapters: list[str]) -> Any:
    params = xllamacpp.CommonParams()
    _assign(params, parameters)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 0.0) for adapter in adapters]
    # With flash attention, rounding depends on the batch size, so the cache would affect answers.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return params


def _assign(target: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _assign(getattr(target, name), value)
        else:
            setattr(target, name, value)


if __name__ == "__main__":
    try:
        main()
    except Exception:  # noqa: BLE001 -- printed, as Python would
        traceback.print_exc()
        os._exit(1)  # before the server is dropped: one that nobody has asked yet may wait for itself for ever
