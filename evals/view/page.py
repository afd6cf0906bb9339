"""The page: separate files for the server, or a single self-contained document."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from string import Template

STATIC = Path(__file__).with_name("static")

STYLES = ("uPlot.min.css", "style.css")
SCRIPTS = (
    "uPlot.iife.min.js", "dom.js", "format.js", "data.js", "route.js", "bars.js", "plots.js", "timeline.js",
    "tokens.js", "prompts.js", "run.js", "table.js", "filters.js", "set.js", "group.js", "learning.js",
    "training.js", "compare.js", "home.js", "app.js",
)  # fmt: skip
"""In order of dependency."""

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@cache
def asset(name: str) -> tuple[bytes, str]:
    """A file of the page, with its media type.

    Raises:
        KeyError: there is no such file.
    """
    if name not in (*STYLES, *SCRIPTS):
        raise KeyError(name)
    return (STATIC / name).read_bytes(), _TYPES[Path(name).suffix]


def served_page() -> str:
    """The page for the server, which also sends its policy."""
    styles = "\n".join(f'<link rel="stylesheet" href="static/{name}">' for name in STYLES)
    scripts = "\n".join(f'<script src="static/{name}" defer></script>' for name in SCRIPTS)
    return _template().substitute(policy="", styles=styles, data="", scripts=scripts)


SERVED_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def whole_page(data: str) -> str:
    """The page as a self-contained document.

    Args:
        data: Elements with the data; see `evals.view.export`.
    """
    style = "\n".join(asset(name)[0].decode("utf-8") for name in STYLES)
    script = "\n".join(asset(name)[0].decode("utf-8") for name in SCRIPTS)
    assert "</script" not in script.lower()
    assert "</style" not in style.lower()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().substitute(
        policy=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        styles=f"<style>{style}</style>",
        data=data,
        scripts=f"<script>{script}</script>",
    )


def _template() -> Template:
    return Template((STATIC / "page.html").read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
