#!/usr/bin/env bash
# Trains on one GPU with one command: tasks, a server for the frozen modules on the same GPU, training with held-out
# tasks before and after, and at the end what changed, tokens/s and seconds by phase. The same command resumes.
#
#   bash training/recipes/one_gpu.sh [--setting value ...]      # settings of training.flow_grpo, e.g. --steps 20
#
# PYTHON: interpreter with the extra train (default: .venv/bin/python).   VLLM: the command `vllm` (default: from PATH;
# it may live in an environment of its own).   FROZEN: model of the other modules.   SHARE: part of the GPU's memory
# that the server takes.   PORT: where it listens.   AGENT_MODEL: a model spec; no server is started then.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python} VLLM=${VLLM:-vllm} PORT=${PORT:-8100} SHARE=${SHARE:-0.4}
FROZEN=${FROZEN:-Qwen/Qwen2.5-1.5B-Instruct}

[ -e town/train.jsonl ] || "$PYTHON" -m training.town --out town

if [ -z "${AGENT_MODEL:-}" ]; then
  command -v "$VLLM" >/dev/null || {
    echo "error: there is no command $VLLM; install vllm, set VLLM to its path, or set AGENT_MODEL to a model spec." >&2
    exit 2
  }
  mkdir -p runs
  "$VLLM" serve "$FROZEN" --host 127.0.0.1 --port "$PORT" --gpu-memory-utilization "$SHARE" --max-model-len 8192 \
    --generation-config vllm >runs/one-gpu-server.log 2>&1 &
  server=$!
  trap 'kill "$server" 2>/dev/null || true' EXIT
  echo "waiting for $FROZEN (runs/one-gpu-server.log) ..." >&2
  until "$PYTHON" -c "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=2)" \
    "http://127.0.0.1:$PORT/v1/models" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || {
      tail -n 5 runs/one-gpu-server.log >&2
      echo "error: the server of $FROZEN has ended; see runs/one-gpu-server.log." >&2
      exit 2
    }
    sleep 2
  done
  AGENT_MODEL="vllm:$FROZEN@http://127.0.0.1:$PORT/v1"
fi

"$PYTHON" -m training.flow_grpo --config training/recipes/one_gpu.yaml --agent_model "$AGENT_MODEL" "$@"
