"""The stand-in as a program: what `vllm serve` is for a run that starts its own server (`training.engines.vllm.child`).

Like vLLM it has an engine process of its own. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


def main() -> None:
    options = parser().parse_args()
    engine = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    say(f"api process {os.getpid()}, engine process {engine.pid}")
    if options.fails:
        raise ValueError("no room for the cache")
    say("Loading weights")
    time.sleep(options.loading_seconds)
    assert os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert options.logprobs_mode == "processed_logprobs"
    assert options.generation_config == "vllm"
    assert bool(options.enable_sleep_mode) == (os.environ.get("VLLM_SERVER_DEV_MODE") == "1")
    if options.hollow:
        HTTPServer((options.host, options.port), Healthy).serve_forever()
    serve(options)


def serve(options: argparse.Namespace) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tests.training.support.vllm_standin import StandIn

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
    server = StandIn(model, options.served_model_name)
    server.lora, server.confused = options.enable_lora, options.confused
    server.port, server.max_model_len = options.port, options.max_model_len
    with server:
        say("Application startup complete.")
        server._thread.join()


class Healthy(BaseHTTPRequestHandler):
    """Answers that it is well, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("model")
    for name in ("--served-model-name", "--max-lora-rank", "--max-loras", "--dtype", "--logprobs-mode", "--host",
                 "--generation-config", "--gpu-memory-utilization"):  # fmt: skip
        parser.add_argument(name)
    for name in ("--port", "--max-model-len", "--max-num-seqs"):
        parser.add_argument(name, type=int)
    for name in ("--enable-lora", "--enable-sleep-mode"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--confused", action="store_true", help="wakes up with other weights")
    parser.add_argument("--loading-seconds", type=float, default=0.0)
    parser.add_argument("--fails", action="store_true", help="ends while it loads")
    parser.add_argument("--hollow", action="store_true", help="serves nothing but its health")
    return parser


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
