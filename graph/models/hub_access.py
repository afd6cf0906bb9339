"""The Hugging Face Hub: its address, the token, and whether it can be reached.

That is asked before the Hub's own client is, which takes half a minute to give up. Where the Hub is out of reach, what
is in the local cache still serves:

    hf_hub_download(repo, path, local_files_only=bool(why_unreachable()))
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import Final

HUB: Final = "https://huggingface.co"
PATIENCE: Final = 2.5
"""Seconds in which the Hub must answer. HF_HUB_ETAG_TIMEOUT, its client's own setting for this, allows more or less."""


def hub_address() -> str:
    """The Hub, or the copy of it that HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def hub_headers() -> dict[str, str]:
    """What opens gated models: the token of HF_TOKEN. httpx does not send it on when the Hub refers to another host."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"authorization": f"Bearer {token}"} if token else {}


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def why_unreachable() -> str:
    """Why the Hub cannot be asked now, in a few words; empty if it answers.

    The answer is kept for the life of the process. Any answer counts, a refusal too: the Hub's client knows what to
    make of it.
    """
    return "HF_HUB_OFFLINE is set" if is_offline() else _asked(hub_address(), _patience())


def hub_options(name: str) -> dict[str, bool]:
    """What transformers' `from_pretrained` is to be told about a name that may be on the Hub."""
    return {"local_files_only": True} if not os.path.exists(name) and why_unreachable() else {}


def unreachable_hint(name: str) -> str:
    """A sentence to add where a name that may be on the Hub could not be loaded; empty if the Hub is not the reason."""
    if not hub_options(name):
        return ""
    return f"The Hub at {hub_address()} cannot be reached ({why_unreachable()}), and the local cache does not hold it."


def _patience() -> float:
    try:
        return float(os.environ["HF_HUB_ETAG_TIMEOUT"])
    except (KeyError, ValueError):
        return PATIENCE


@lru_cache(maxsize=8)
def _asked(address: str, seconds: float) -> str:
    reason = f"no answer within {seconds:g} s"

    def ask() -> None:
        nonlocal reason
        import httpx

        try:
            httpx.head(address, timeout=seconds)
        except httpx.TimeoutException:
            return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
        else:
            reason = ""

    # On a thread of its own: a name server that is silent cannot be hurried, and several addresses are tried in turn.
    asking = threading.Thread(target=ask, name="hub-reach", daemon=True)
    asking.start()
    asking.join(seconds + 0.5)
    return reason
