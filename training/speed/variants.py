"""The four variants of a step's gradient that the benchmark compares, each as a list of micro-batches.

Ours, packed and unpacked, run `training.update.gradient` as the trainer does. Stock TRL runs `GRPOTrainer`'s own
`_compute_loss` on padded batches, with `loss_type="grpo"` and beta 0. Both train the same weights: the models share
their frozen parameters, and the second adapter is a copy of the first. Ours computes its adapters fused, as the trainer
does; stock TRL's are PEFT's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graph.errors import ConfigError
from training.algo.settings import ObjectiveSettings
from training.models.allocator import keep_freed_memory
from training.models.fused_adapters import fuse_adapters
from training.models.kernels import fuse_kernels
from training.models.policy import load_policy, with_adapter, without_adapter
from training.models.precision import in_model_precision
from training.models.shapes import SHAPES, config_of
from training.speed.workload import Sample
from training.update.gradient import Update
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch, pack, pad
from training.update.rows import Row

LORA_RANK = 16


@dataclass(frozen=True)
class Work:
    """One micro-batch of a variant."""

    rows: int
    """Number of sequences."""
    tokens: int
    """Computed positions, including padding."""
    gradient: Callable[[], None]
    """Forward and backward pass; adds to the parameters' gradients."""
    reference: Callable[[], None]
    """Log-probabilities under the policy without its adapter."""


def make_model(spec: str, device: str, dtype: torch.dtype, seed: int = 0, *, checkpointing: bool = True) -> nn.Module:
    """A causal language model with LoRA on all linear layers, in training mode, with fused kernels where there are any.

    Args:
        spec: a name of `training.models.shapes.SHAPES` or a JSON file of a configuration (random weights), or a model's
            folder, name or GGUF file (its weights).
        device: cpu or cuda.
        dtype: of the frozen weights; the adapter is float32.
        seed: of random weights.
        checkpointing: whether activations are recomputed in the backward pass.

    Raises:
        ConfigError: there is no such model, or it cannot be packed.
    """
    if device == "cpu":
        keep_freed_memory()
    if spec in SHAPES or spec.endswith(".json"):
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        with torch.device(device):
            base = AutoModelForCausalLM.from_config(config_of(spec), dtype=dtype)  # type: ignore[no-untyped-call]
    else:
        base, _ = load_policy(spec, str(dtype).removeprefix("torch."))
        base.to(device)  # type: ignore[arg-type]
    model = with_adapter(base, rank=LORA_RANK, alpha=2 * LORA_RANK, targets="all-linear", seed=seed)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would leave half of the gradients zero
            nn.init.normal_(parameter, std=0.02, generator=generator)
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    fuse_kernels(model, torch.device(device))
    return model.train()


def ours(model: nn.Module, batches: Sequence[MicroBatch]) -> list[Work]:
    """Our update on packed or padded batches; `attach_scoring` has prepared the model."""
    update = Update(model, ObjectiveSettings(beta=0.0, tis_cap=None), temperature=1.0)

    def work(batch: MicroBatch) -> Work:
        def gradient() -> None:
            update.accumulate([batch], _backward, sync=lambda last: nullcontext())

        def reference() -> None:
            with torch.no_grad(), in_model_precision(model), without_adapter(model):
                forward_terms(model, batch, 1.0, entropies=False)

        return Work(len(batch.input_ids), batch.tokens, gradient, reference)

    return [work(batch) for batch in batches]


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def packed(model: nn.Module, rows: Sequence[Row], budget: int) -> list[Work]:
    """Variant (a).

    Raises:
        ConfigError: the model cannot be packed.
    """
    refusal = attach_scoring(model)
    if refusal:
        raise ConfigError(refusal)
    fuse_adapters(model)
    return ours(model, pack(rows, budget))


def unpacked(model: nn.Module, rows: Sequence[Row], budget: int) -> list[Work]:
    """Variant (b)."""
    attach_scoring(model)
    fuse_adapters(model)
    return ours(model, pad(rows, budget))


class Stock:
    """TRL's `GRPOTrainer` around a model.

    Args:
        model: with an adapter, on its device.
    """

    def __init__(self, model: nn.Module) -> None:
        import datasets
        import trl

        self.model = model
        on_cpu = next(model.parameters()).device.type == "cpu"
        self._folder = tempfile.TemporaryDirectory(prefix="trl-")
        arguments = trl.GRPOConfig(
            output_dir=self._folder.name, per_device_train_batch_size=2, num_generations=2, beta=0.0,
            loss_type="grpo", temperature=1.0, report_to=[], use_cpu=on_cpu, bf16=not on_cpu, disable_dropout=True,
            gradient_checkpointing_kwargs={"use_reentrant": False}, disable_tqdm=True,
        )  # fmt: skip
        self.trainer = trl.GRPOTrainer(
            model,
            reward_funcs=lambda prompts, **_: [0.0] * len(prompts),
            args=arguments,
            train_dataset=datasets.Dataset.from_dict({"prompt": ["x", "y"]}),
            processing_class=_tokenizer(),
        )
        model.train()

    def works(self, samples: Sequence[Sample], rows: int) -> list[Work]:
        """Variants (c) and (d): micro-batches of `rows` samples of similar shape, the largest first."""
        ordered = sorted(samples, key=lambda sample: sample.shape, reverse=True)
        chunks = [ordered[first : first + rows] for first in range(0, len(ordered), rows)]
        return [self._work(chunk, share=len(chunk) / len(ordered)) for chunk in chunks]

    def _work(self, samples: Sequence[Sample], share: float) -> Work:
        inputs = _inputs(samples, next(self.model.parameters()).device)
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        keep = inputs["completion_ids"].shape[1]

        def gradient() -> None:
            # TRL takes the mean of a micro-batch and divides it by their number: the mean over all samples.
            self.trainer.current_gradient_accumulation_steps = 1 / share
            loss: Tensor = self.trainer._compute_loss(self.model, inputs)
            _backward(loss)

        def reference() -> None:
            with torch.no_grad(), without_adapter(self.model):
                self.trainer._get_per_token_logps_and_entropies(self.model, ids, mask, keep)

        return Work(len(samples), ids.numel(), gradient, reference)


def _inputs(samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
    """TRL's batch: prompts padded on the left, completions on the right."""
    before = max(len(sample.prompt) for sample in samples)
    after = max(len(sample.completion) for sample in samples)

    def left(values: Sequence[int]) -> list[int]:
        return [0] * (before - len(values)) + list(values)

    def right(values: Sequence[int]) -> list[int]:
        return list(values) + [0] * (after - len(values))

    batch = {
        "prompt_ids": [left(sample.prompt) for sample in samples],
        "prompt_mask": [left([1] * len(sample.prompt)) for sample in samples],
        "completion_ids": [right(sample.completion) for sample in samples],
        "completion_mask": [right([1] * len(sample.completion)) for sample in samples],
        "tool_mask": [right(sample.trained) for sample in samples],
    }
    tensors = {name: torch.tensor(values, device=device, dtype=torch.long) for name, values in batch.items()}
    advantages = torch.tensor([sample.advantage for sample in samples], device=device, dtype=torch.float32)
    return tensors | {"advantages": advantages}


@contextmanager
def head_on_completions() -> Iterator[None]:
    """Inside, TRL's head scores only completion positions, as it does where Triton is available."""
    from trl.trainer import utils

    original = utils._use_triton
    utils._use_triton = lambda device: True
    try:
        yield
    finally:
        utils._use_triton = original


def _tokenizer() -> Any:
    """A placeholder tokenizer for `GRPOTrainer`; the benchmark never uses it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, "x": 2, "y": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))  # noqa: S106
    names = {"pad_token": "<pad>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)  # type: ignore[no-untyped-call]


def gradients_of(model: nn.Module) -> Tensor:
    """All gradients of the trained parameters in one float32 vector on the CPU."""
    return torch.cat(
        [
            (parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)).flatten().float().cpu()
            for parameter in model.parameters()
            if parameter.requires_grad
        ]
    )
