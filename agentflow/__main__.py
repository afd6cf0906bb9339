"""`python -m agentflow`, the same as the command `agentflow`."""

from __future__ import annotations

import sys

from agentflow.command import main

if __name__ == "__main__":
    sys.exit(main())
