"""How often a host may be asked."""

from __future__ import annotations

import threading
import time

from tools.errors import ToolUnavailable


class HostPacer:
    """Spaces out requests to one host, over all threads, event loops and tools of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = {}

    def reserve(self, host: str, interval: float, patience: float) -> float:
        """Take the host's next free moment.

        Args:
            host: The host.
            interval: Seconds until the next request after this one.
            patience: The longest wait, in seconds, that is of use to the caller.

        Returns:
            The seconds to wait before the request is sent.

        Raises:
            ToolUnavailable: the wait would be longer; nothing is reserved.
        """
        with self._lock:
            now = time.monotonic()
            if len(self._free_at) > 1000:
                self._free_at = {name: at for name, at in self._free_at.items() if at > now}
            start = max(now, self._free_at.get(host, now))
            if start - now > patience:
                raise ToolUnavailable(f"{host} must not be asked again for another {start - now:.0f} s.")
            self._free_at[host] = start + interval
            return start - now

    def hold(self, host: str, seconds: float) -> None:
        """Send nothing to `host` for that long."""
        with self._lock:
            until = time.monotonic() + seconds
            self._free_at[host] = max(until, self._free_at.get(host, until))


PACER = HostPacer()
"""The process' own: politeness is owed to a host by all tools together."""
