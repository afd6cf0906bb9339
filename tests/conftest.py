"""What all tests need."""

from __future__ import annotations

import signal

# Shells start background jobs with SIGINT ignored, which children inherit; tests that press Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
