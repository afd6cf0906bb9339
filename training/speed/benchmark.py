"""Runs the benchmark of updates; `training.speed` says what it compares."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from graph.errors import ConfigError
from tools.counts import many
from training.models.device import peak_memory
from training.models.flops import Operations, Shape, accelerator, operations, shape_of
from training.models.policy import twin
from training.speed.clock import (
    Spread,
    Timing,
    alternate,
    clocked,
    gradient,
    in_fresh_process,
    reference,
    time_step,
)
from training.speed.phases import phases
from training.speed.variants import (
    LORA_RANK,
    Stock,
    Work,
    gradients_of,
    head_on_completions,
    make_model,
    packed,
    unpacked,
)
from training.speed.workload import ROWS, Options, merged_samples, rows_of, step_of, turn_samples, unshared
from training.update import attention
from training.update.packing import MicroBatch, pack

_UNSHARED = 2
"""Number of rollouts in the step without shared tokens."""


def measure(
    options: Options,
    say: Callable[[str], None] = lambda text: None,
    tell: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Runs the benchmark.

    Args:
        options: what to measure.
        say: called with a line for each stage.
        tell: called after each stage from the repeats on, with the report so far.

    Returns:
        The report as plain values.

    Raises:
        AgentFlowError: the model or the device is not available.
    """
    return _Benchmark(options, say).report(tell)


class _Benchmark:
    """One run of the benchmark: model, step, variants and their measurements."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.began = time.perf_counter()
        self.workload = options.workload
        self.budget = options.budget
        say(f"{options.model} on {options.device}")
        self.dtype = dtype_of(options.device)
        self.model: nn.Module = _model_of(options)
        self.stock: Stock = Stock(twin(self.model))
        vocabulary = int(self.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
        groups = step_of(self.workload, vocabulary)
        self.rows = rows_of(groups)
        apart = rows_of(step_of(unshared(self.workload, _UNSHARED), vocabulary))
        self.works: dict[str, list[Work]] = {
            "packed": packed(self.model, self.rows, self.budget),
            "unpacked": unpacked(self.model, self.rows, self.budget),
            "packed_unshared": packed(self.model, apart, self.budget),
            "unpacked_unshared": unpacked(self.model, apart, self.budget),
        }
        self.samples = {"trl": turn_samples(groups), "trl_merged": merged_samples(groups)}
        self.chosen: dict[str, int] = {}
        self.packed_seconds = 0.0
        self.threads = torch.get_num_threads()

    def report(self, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Measures everything, in this order."""
        self._warm_up()
        timings, repeats = self._repeats()
        report = self._about(repeats) | self._figures(timings)
        report |= self._utilisation(report["seconds"]["packed"]["median"])
        tell(report)
        for stage in (self._once, self._gradient_error, self._phases, self._memory):
            report |= stage()
            tell(report)
        report["benchmark_seconds"] = round(time.perf_counter() - self.began, 1)
        return report

    # The parts of the report

    def _warm_up(self) -> None:
        """Makes first calls, and finds TRL's best micro-batch by the forward pass of one of its shortest samples."""
        self.say("warm-up")
        first = packed(self.model, self.rows[:1], self.budget)
        if self.options.device == "cuda":  # kernels are compiled for each shape, and seconds do not matter there
            first = [work for works in self.works.values() for work in works]
        for work in first:
            clocked(work.gradient)
        for name, samples in self.samples.items():
            seconds: dict[int, float] = {}
            for rows in ROWS:
                works = self.stock.works(samples, min(rows, len(samples)))
                if works[0].tokens > self.budget and rows > 1:
                    continue
                with head_on_completions():
                    if not seconds or self.options.device == "cuda":  # where every new shape costs once
                        clocked(works[-1].reference)
                    seconds[rows] = clocked(works[-1].reference) / works[-1].rows
            self.chosen[name] = min(seconds, key=lambda rows: seconds[rows])
            self.works[name] = self.stock.works(samples, self.chosen[name])
            self.say(f"{name}: {many(self.chosen[name], 'sample')} a micro-batch")
            if self.options.device == "cuda":
                self._timed(name)

    def _repeats(self) -> tuple[dict[str, list[Timing]], int]:
        names = ("packed", "unpacked", "trl", "trl_merged", "packed_unshared", "unpacked_unshared")
        return alternate({name: partial(self._timed, name) for name in names}, self.options.repeats, self._until)

    def _timed(self, name: str, *, stock_head: bool = False, of_reference: bool = False) -> Timing:
        self.say(f"{name}{' with the stock head' * stock_head}{', reference pass' * of_reference}")
        whole = name.startswith("packed")
        model = self.stock.model if name.startswith("trl") else self.model
        works = self.stock.works(self.samples[name], 1) if stock_head else self.works[name]
        with nullcontext() if stock_head else head_on_completions():
            timing = time_step(
                works,
                model,
                sample=None if whole else self.options.sample or None,
                run=reference if of_reference else gradient,
            )
        if name == "packed" and not of_reference:
            self.packed_seconds = timing.seconds
        return timing

    def _until(self) -> float:
        """The time by which the repeats must end: what follows takes about three packed updates."""
        return self.began + 60 * self.options.minutes - 3 * self.packed_seconds - 60

    def _about(self, repeats: int) -> dict[str, Any]:
        return {
            "model": self.options.model,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "device": _device_name(self.options.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "checkpointing": self.options.checkpointing,
            "attention": self.options.attention if self.options.device == "cuda" else "pieces",
            "threads": self.threads,
            "load_average": round(os.getloadavg()[0], 2),
            "versions": {"torch": torch.__version__, "transformers": version("transformers"), "trl": version("trl")},
            "workload": asdict(self.workload),
            "token_budget": self.budget,
            "repeats": repeats,
            "samples_per_micro_batch": self.chosen,
        }

    def _figures(self, timings: dict[str, list[Timing]]) -> dict[str, Any]:
        def ratio(over: str, under: str) -> Spread:
            pairs = zip(timings[over], timings[under], strict=True)
            return Spread.of([slow.seconds / fast.seconds for slow, fast in pairs])

        ratios = {
            "time_ratio_trl_over_packed": ratio("trl", "packed"),
            "time_ratio_trl_merged_over_packed": ratio("trl_merged", "packed"),
            "time_ratio_unpacked_over_packed": ratio("unpacked", "packed"),
            "time_ratio_packed_over_unpacked_unshared": ratio("packed_unshared", "unpacked_unshared"),
        }
        computed = sum(work.tokens for work in self.works["packed"])
        return {
            "tokens": {name: sum(work.tokens for work in works) for name, works in self.works.items()},
            "unique_tokens": sum(batch.tokens for batch in pack(self.rows, sum(map(len, self.rows)))),
            "seconds": {name: asdict(Spread.of([timing.seconds for timing in of])) for name, of in timings.items()},
            "micro_batches_timed": {name: f"{of[0].timed} of {of[0].of}" for name, of in timings.items()},
            **{name: spread.median for name, spread in ratios.items()},
            "spread": {name: [spread.low, spread.high] for name, spread in ratios.items()},
            "update_tokens_per_second": computed / Spread.of([timing.seconds for timing in timings["packed"]]).median,
        }

    def _once(self) -> dict[str, Any]:
        """What is timed once, outside the repeats."""
        passes = {name: self._timed(name, of_reference=True).seconds for name in ("packed", "unpacked", *self.samples)}
        stock = {name: self._timed(name, stock_head=True).seconds for name in self.samples}
        return {"reference_seconds": passes, "stock_head_seconds": stock}

    def _gradient_error(self) -> dict[str, float]:
        """The relative error of packed against unpacked gradients, and the number of rows compared."""
        self.say("gradients of packed and unpacked")
        right = max(self.rows, key=lambda row: row.terms.advantages[0])
        wrong = min((row for row in self.rows if row.group == right.group), key=lambda row: row.terms.advantages[0])
        rows = [right, wrong]
        gradients = []
        for works in (packed(self.model, rows, self.budget), unpacked(self.model, rows, self.budget)):
            self.model.zero_grad(set_to_none=True)
            for work in works:
                work.gradient()
            gradients.append(gradients_of(self.model))
        error = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
        return {"gradient_relative_error": error, "gradient_rows": len(rows)}

    def _phases(self) -> dict[str, Any]:
        if not self.options.phases:
            return {}
        self.say("a whole step by phase")
        return {"phases": phases(self.model, self.workload, self.rows, self.works["packed"])}

    def _utilisation(self, seconds: float) -> dict[str, Any]:
        batches = pack(self.rows, self.budget)
        shape = shape_of(self.model.config)  # type: ignore[arg-type]
        counted = operations_of(shape, batches, lora_rank=LORA_RANK, checkpointing=self.options.checkpointing)
        figures: dict[str, Any] = {
            "model_operations": counted.model,
            "hardware_operations": counted.hardware,
            "model_operations_per_second": counted.model / seconds,
        }
        device = accelerator(_device_name(self.options.device)) if self.options.device == "cuda" else None
        if device is not None:
            figures["model_flop_utilisation"] = counted.model / seconds / device.operations
            figures["hardware_flop_utilisation"] = counted.hardware / seconds / device.operations
        return figures

    def _memory(self) -> dict[str, Any]:
        measured = {}
        for name in ("packed", "trl"):
            if self.options.device == "cuda":  # whose peaks can be told apart within one process
                self.say(f"{name}: memory")
                measured[name] = self._peak_of(name)
            else:
                self.say(f"{name}: memory, in a process of its own")
                measured[name] = in_fresh_process(["--peak-of", name, *self.options.as_arguments()])
        return {
            "peak_memory_bytes": {name: figures["peak"] for name, figures in measured.items()},
            "memory_before_bytes": {name: figures["before"] for name, figures in measured.items()},
            "peak_memory_tokens": {name: figures["tokens"] for name, figures in measured.items()},
            "peak_memory_ratio_packed_over_trl": measured["packed"]["peak"] / measured["trl"]["peak"],
        }

    def _peak_of(self, name: str) -> dict[str, float]:
        for model in (self.model, self.stock.model):
            model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model = self.model if name == "packed" else self.stock.model
        return _measured_peak(self.options, name, model, lambda: self.stock)


def _model_of(options: Options) -> nn.Module:
    attention.cuda_kernel = "flex" if options.attention == "flex" else "flash"
    dtype = dtype_of(options.device)
    return make_model(options.model, options.device, dtype, options.seed, checkpointing=options.checkpointing)


def peak_of(options: Options, variant: str) -> dict[str, float]:
    """Peak memory of this process over one micro-batch of a variant, at the token budget."""
    model = _model_of(options)
    return _measured_peak(options, variant, model, lambda: Stock(model))


def _measured_peak(options: Options, variant: str, model: Any, stock: Callable[[], Stock]) -> dict[str, float]:
    groups = step_of(options.workload, model.config.vocab_size)
    if variant == "packed":
        work = max(packed(model, rows_of(groups), options.budget), key=lambda work: work.tokens)
    else:
        samples = turn_samples(groups)
        longest = max(sum(sample.shape) for sample in samples)
        work = stock().works(samples, max(1, options.budget // longest))[0]
    before = peak_memory(options.device)
    with head_on_completions():
        work.gradient()
    return {"before": before, "peak": peak_memory(options.device), "tokens": work.tokens}


def dtype_of(device: str) -> Any:
    """float32 on the CPU, bfloat16 on a GPU.

    Raises:
        ConfigError: there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; install a CUDA build of torch, or leave it out.")
    return torch.bfloat16 if device == "cuda" else torch.float32


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} cpu"


def operations_of(shape: Shape, batches: Sequence[MicroBatch], *, lora_rank: int, checkpointing: bool) -> Operations:
    """The arithmetic of an update over packed micro-batches."""
    return operations(
        shape,
        tokens=sum(batch.tokens for batch in batches),
        pairs=float(sum(int((batch.position_ids + 1).sum()) for batch in batches)),
        scored=sum(len(batch.head_index) for batch in batches),
        lora_rank=lora_rank,
        checkpointing=checkpointing,
    )
