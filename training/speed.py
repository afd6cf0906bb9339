"""What one update costs: ours, packed and unpacked, against stock TRL, on planner turns as the graph makes them.

    python -m training.speed [--groups 2 --group-size 8 --turns 3 --prompt 1000 --completion 100] [--json]
    python -m training.speed --device cuda --model 7b --phases

Four variants compute the gradient of the same step with the same weights (LoRA of rank 16 on all linear layers,
gradient checkpointing):

(a) packed       our update: tokens that rollouts share are computed once
(b) unpacked     our update on padded rows, one for each rollout
(c) trl          `GRPOTrainer`'s log-prob and loss path, one sample for each planner turn, as the reference trains
(d) trl_merged   the same, one sample for each rollout

They run in turn, each repeat beginning with another one. (c) and (d) get the fastest micro-batch of 1, 2 or 4 samples,
never mix lengths, and score completion positions alone; TRL as it is off Triton scores all (`stock_head`). Nobody's
micro-batch exceeds the token budget, which is four whole rollouts. Of (b), (c) and (d) a sample of micro-batches of
each shape is timed and stands for the rest. Peak memory is that of fresh processes with one micro-batch of the budget.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from graph.errors import AgentFlowError, ConfigError

if TYPE_CHECKING:
    from torch import nn

    from training.speed_measure import Timing
    from training.speed_variants import Stock, Work

ROWS = (1, 2, 4)
"""Samples of a micro-batch that TRL may choose from."""

_UNSHARED = 2
"""Rollouts of the step in which nothing is shared."""


@dataclass(frozen=True)
class Options:
    """The command's options."""

    model: str = "135m"
    device: str = "cpu"
    groups: int = 2
    group_size: int = 8
    turns: int = 3
    prompt: int = 1000
    completion: int = 100
    observation: int | None = None
    token_budget: int | None = None
    repeats: int = 3
    sample: int = 1
    minutes: float = 19.0
    seed: int = 0
    phases: bool = False


def measure(options: Options, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Runs the benchmark.

    Args:
        options: what is measured.
        say: told what is going on.

    Returns:
        The report, plain values by name; see README.

    Raises:
        AgentFlowError: the model or the device cannot be had.
    """
    return _Benchmark(options, say).report()


class _Benchmark:
    """One run of the benchmark: model, step and variants, and what was measured of them."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        import torch

        from training.policy_model import twin
        from training.speed_turns import merged_samples, rows_of, step_of, turn_samples, unshared
        from training.speed_variants import Stock, make_model, packed, unpacked

        self.options, self.say = options, say
        self.began = time.perf_counter()
        self.workload = workload_of(options)
        self.budget = options.token_budget or max(ROWS) * self.workload.longest
        say(f"{options.model} on {options.device}")
        self.dtype = dtype_of(options.device)
        self.model: nn.Module = make_model(options.model, options.device, self.dtype, options.seed)
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
        self.threads = torch.get_num_threads()

    def report(self) -> dict[str, Any]:
        """All of it, in the order in which it is measured."""
        self._warm_up()
        timings, repeats = self._repeats()
        made = self._about(repeats) | self._figures(timings)
        made |= self._once()
        made["gradient_relative_error"], made["gradient_rows"] = self._gradient_error()
        made |= self._utilisation(made["seconds"]["packed"]["median"])
        if self.options.phases:
            from training.speed_phases import phases

            self.say("a whole step by phase")
            made["phases"] = phases(self.model, self.workload, self.rows, self.works["packed"])
        made |= self._memory()
        made["benchmark_seconds"] = round(time.perf_counter() - self.began, 1)
        return made

    # The parts of the report

    def _warm_up(self) -> None:
        """First calls, and TRL's best micro-batch by its time for one sample of middling length."""
        from training.speed_measure import clocked
        from training.speed_variants import head_on_completions, packed

        self.say("warm-up")
        clocked(packed(self.model, self.rows[:1], self.budget)[0].gradient)
        for name, samples in self.samples.items():
            seconds = {}
            for rows in ROWS:
                works = self.stock.works(samples, min(rows, len(samples)))
                if works[0].tokens > self.budget and rows > 1:
                    continue
                middle = works[len(works) // 2]
                with head_on_completions():
                    if not seconds:
                        clocked(middle.gradient)
                    seconds[rows] = clocked(middle.gradient) / middle.shape[0]
            self.chosen[name] = min(seconds, key=lambda rows: seconds[rows])
            self.works[name] = self.stock.works(samples, self.chosen[name])
            self.say(f"{name}: {self.chosen[name]} samples a micro-batch")

    def _repeats(self) -> tuple[dict[str, list[Timing]], int]:
        from training.speed_measure import alternate

        until = self.began + 60 * self.options.minutes - self._reserve()
        names = ("packed", "unpacked", "trl", "trl_merged", "packed_unshared", "unpacked_unshared")
        return alternate({name: partial(self._timed, name) for name in names}, self.options.repeats, until)

    def _timed(self, name: str, *, stock_head: bool = False, of_reference: bool = False) -> Timing:
        from contextlib import nullcontext

        from training.speed_measure import gradient, reference, time_step
        from training.speed_variants import head_on_completions

        self.say(f"{name}{' with the stock head' * stock_head}{', reference pass' * of_reference}")
        ours = name.startswith("packed")
        model = self.stock.model if name.startswith("trl") else self.model
        with nullcontext() if stock_head else head_on_completions():
            return time_step(
                self.works[name],
                model,
                sample=None if ours else self.options.sample or None,
                run=reference if of_reference else gradient,
            )

    def _reserve(self) -> float:
        """Seconds that what follows the repeats will take, from what has been timed up to now; a rough guess."""
        return 0.3 * (time.perf_counter() - self.began) + 60

    def _about(self, repeats: int) -> dict[str, Any]:
        import torch
        import transformers
        import trl

        return {
            "model": self.options.model,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "device": _device_name(self.options.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": self.threads,
            "load_average": round(os.getloadavg()[0], 2),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__},
            "workload": asdict(self.workload),
            "token_budget": self.budget,
            "repeats": repeats,
            "samples_per_micro_batch": self.chosen,
        }

    def _figures(self, timings: dict[str, list[Timing]]) -> dict[str, Any]:
        from training.packing import pack
        from training.speed_measure import Spread

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
        """What is timed once, beside the repeats."""
        passes = {name: self._timed(name, of_reference=True).seconds for name in ("packed", "unpacked", *self.samples)}
        stock = {name: self._timed(name, stock_head=True).seconds for name in self.samples}
        return {"reference_seconds": passes, "stock_head_seconds": stock}

    def _gradient_error(self) -> tuple[float, int]:
        """Packed against unpacked: the relative error, and the rows it was taken over, with the step's own stamps."""
        from training.speed_variants import gradients_of, packed, unpacked

        self.say("gradients of packed and unpacked")
        rows = self.rows[: max(ROWS)]
        found = []
        for works in (packed(self.model, rows, self.budget), unpacked(self.model, rows, self.budget)):
            self.model.zero_grad(set_to_none=True)
            for work in works:
                work.gradient()
            found.append(gradients_of(self.model))
        return float((found[0] - found[1]).norm() / found[1].norm()), len(rows)

    def _utilisation(self, seconds: float) -> dict[str, Any]:
        from training.flops import accelerator, operations_of, shape_of
        from training.packing import pack
        from training.speed_variants import LORA_RANK

        batches = pack(self.rows, self.budget)
        counted = operations_of(
            shape_of(self.model.config),
            batches,
            lora_rank=LORA_RANK,
            checkpointing=True,  # type: ignore[arg-type]
        )
        made: dict[str, Any] = {
            "model_operations": counted.model,
            "hardware_operations": counted.hardware,
            "model_operations_per_second": counted.model / seconds,
        }
        known = accelerator(_device_name(self.options.device)) if self.options.device == "cuda" else None
        if known is not None:
            made["model_flop_utilisation"] = counted.model / seconds / known.operations
            made["hardware_flop_utilisation"] = counted.hardware / seconds / known.operations
        return made

    def _memory(self) -> dict[str, Any]:
        from training.speed_measure import in_fresh_process

        found = {}
        for name in ("packed", "trl"):
            self.say(f"{name}: memory, in a process of its own")
            arguments = ["--peak-of", name, "--token-budget", str(self.budget), *_as_arguments(self.options)]
            found[name] = in_fresh_process(arguments)
        return {
            "peak_memory_bytes": {name: figures["peak"] for name, figures in found.items()},
            "memory_before_bytes": {name: figures["before"] for name, figures in found.items()},
            "peak_memory_tokens": {name: figures["tokens"] for name, figures in found.items()},
            "peak_memory_ratio_packed_over_trl": found["packed"]["peak"] / found["trl"]["peak"],
        }


def peak_of(options: Options, variant: str) -> dict[str, float]:
    """Peak memory of this process over one micro-batch of a variant, as large as the token budget allows."""
    from training.speed_measure import peak_memory
    from training.speed_turns import rows_of, step_of, turn_samples
    from training.speed_variants import Stock, head_on_completions, make_model, packed

    workload = workload_of(options)
    budget = options.token_budget or max(ROWS) * workload.longest
    model: Any = make_model(options.model, options.device, dtype_of(options.device), options.seed)
    groups = step_of(workload, model.config.vocab_size)
    if variant == "packed":
        work = max(packed(model, rows_of(groups), budget), key=lambda work: work.tokens)
    else:
        samples = turn_samples(groups)
        longest = max(sum(sample.shape) for sample in samples)
        work = Stock(model).works(samples, max(1, budget // longest))[0]
    before = peak_memory(options.device)
    with head_on_completions():
        work.gradient()
    return {"before": before, "peak": peak_memory(options.device), "tokens": work.tokens}


def workload_of(options: Options) -> Any:
    """The step that the options describe."""
    from training.speed_turns import Workload

    return Workload(
        groups=options.groups,
        group_size=options.group_size,
        turns=options.turns,
        prompt=options.prompt,
        completion=options.completion,
        observation=options.completion if options.observation is None else options.observation,
        seed=options.seed,
    )


def dtype_of(device: str) -> Any:
    """float32 on the CPU, bfloat16 on a GPU.

    Raises:
        ConfigError: there is no such device here.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; install a CUDA build of torch, or leave it out.")
    return torch.bfloat16 if device == "cuda" else torch.float32


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} cpu"


def _as_arguments(options: Options) -> list[str]:
    names = ("model", "device", "groups", "group_size", "turns", "prompt", "completion", "observation", "seed")
    pairs = [(name, getattr(options, name)) for name in names]
    return [word for name, value in pairs if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    as_json, variant = given.pop("json"), given.pop("peak_of")
    options = Options(**given)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", module="trl|transformers|torch")

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    try:
        if variant:
            found: dict[str, Any] = peak_of(options, variant)
        else:
            found = measure(options, say)
    except AgentFlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if as_json or variant:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        from training.speed_table import table

        sys.stdout.write(table(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    def count(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError("it must be at least 1")
        return value

    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m training.speed", description="Time one update: ours, packed and unpacked, against stock TRL."
    )
    shapes = "a shape by name (tiny, 135m, 0.5b, 1.5b, 3b, 7b) or config.json with random weights, or a model"
    sampled = "micro-batches of each shape that are timed of (b), (c), (d); 0: all"
    whole = "also time a whole step: sampling, reference, update, optimizer"
    parser.add_argument("--model", default=default.model, metavar="PATH_OR_CONFIG", help=shapes)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default.device)
    parser.add_argument("--groups", type=count, default=default.groups, help="tasks of the step")
    parser.add_argument("--group-size", type=count, default=default.group_size, help="rollouts of each task")
    parser.add_argument("--turns", type=count, default=default.turns, help="planner turns of each rollout")
    parser.add_argument("--prompt", type=count, default=default.prompt, help="tokens of the first prompt")
    parser.add_argument("--completion", type=count, default=default.completion, help="tokens of each reply")
    parser.add_argument("--observation", type=count, help="tokens between replies (default: as a reply)")
    parser.add_argument("--token-budget", type=count, help="most tokens of a micro-batch (default: four rollouts)")
    parser.add_argument("--repeats", type=count, default=default.repeats, help="at most, as --minutes allows")
    parser.add_argument("--sample", type=int, default=default.sample, help=sampled)
    parser.add_argument("--minutes", type=float, default=default.minutes, help="no repeat is begun that ends later")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--phases", action="store_true", help=whole)
    parser.add_argument("--peak-of", choices=("packed", "trl"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


if __name__ == "__main__":
    sys.exit(main())
