"""What all tests need."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Shells start background jobs with SIGINT ignored, which children inherit; tests that press Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# By default an example that takes more than 0.2 s fails its test, which on a busy machine any example may.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# The models of the tests are small: on a busy machine torch's threads wait for each other far longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
