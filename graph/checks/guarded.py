"""A check that fails says nothing: an error in it must not end a run, and what it would have found stays unfound."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


def guarded(check: Callable[P, T], otherwise: Callable[P, T]) -> Callable[P, T]:
    """The check, with `otherwise` as what it finds when it fails."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return check(*args, **kwargs)
        except Exception:
            log.exception("A check failed, and the run goes on without it: %r", check)
            return otherwise(*args, **kwargs)

    return wraps(check)(run)
