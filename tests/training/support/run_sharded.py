"""The toy run under FSDP 2 with gloo on the CPU.

accelerate shards on accelerators only; here its state is told that it shards all the same, and everything after that
(wrapping, gathering, checkpoints) is accelerate's, transformers' and torch's own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from tests.training.support.toy import toy_config
from training.flow_grpo.launch import train

ENVIRONMENT = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}  # fmt: skip
"""What `accelerate launch --config_file training/recipes/fsdp.yaml` sets."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    made = AcceleratorState.__init__

    def sharding(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        if named.get("fsdp_plugin") is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = named["fsdp_plugin"]
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # where later states look it up

    AcceleratorState.__init__ = sharding
    train(toy_config(options.folder, options.model, **options.settings))


if __name__ == "__main__":
    sys.exit(main())
