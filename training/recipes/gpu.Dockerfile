# Trains on one NVIDIA GPU. All CUDA libraries come with the wheels of torch and vLLM; the host needs its driver and the
# NVIDIA Container Toolkit. NOT BUILT BY US: no Docker engine was at hand.
#
#   docker build -f training/recipes/gpu.Dockerfile -t agentflow-train .
#   docker run --rm --gpus all --ipc host -v "$PWD/runs:/agentflow/runs" -v agentflow-models:/root/.cache \
#     agentflow-train --steps 20                                  # settings of training.flow_grpo after one_gpu.yaml
#   docker run --rm --gpus all --entrypoint agentflow agentflow-train train speed --device cuda --json
FROM python:3.11-slim

# Triton compiles FlexAttention's kernels when they are first used, with the system's C compiler.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*

# vLLM pins a torch of its own, so it lives in an environment of its own, named by vllm_command.
ARG VLLM_VERSION="vllm>=0.22,<0.32"
RUN python -m venv /opt/vllm && /opt/vllm/bin/pip install --no-cache-dir "$VLLM_VERSION"

# The dependencies before the sources, so that a changed source does not install torch again.
WORKDIR /agentflow
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch transformers trl peft accelerate
COPY . ./
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[train,hub,tensorboard]"

ENTRYPOINT ["python", "-m", "training.flow_grpo", "--config", "training/recipes/one_gpu.yaml", \
            "--vllm_command", "/opt/vllm/bin/vllm"]
