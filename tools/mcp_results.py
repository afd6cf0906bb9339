"""What an MCP server answers to a call, as text.

Results are read from the bare message and not through the types of a client library, which drops structured content
and refuses whole results for one block of a kind that it does not know.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from tools.results import as_text, text_of_bytes


class Answer(BaseModel):
    """The result of `tools/call`, taken as it comes."""

    model_config = ConfigDict(extra="allow")

    content: Any = None
    structuredContent: Any = None  # noqa: N815 - the protocol's name
    isError: Any = False  # noqa: N815

    @property
    def text(self) -> str:
        """Its blocks, and what its structured content says beyond them; empty where it says nothing."""
        content = self.content if isinstance(self.content, list) else [self.content]
        texts = [text for block in content if block is not None and (text := _block_text(block))]
        if self.structuredContent is not None and not _is_said(self.structuredContent, texts):
            texts.append(as_text(self.structuredContent))
        return "\n".join(texts)


def _block_text(block: Any) -> str:
    """The text of a block; what is no text is named, so that its absence is no riddle."""
    if not isinstance(block, Mapping):
        return as_text(block)
    kind = str(block.get("type", "unknown"))
    if isinstance(block.get("resource"), Mapping):
        return _resource_text(block["resource"])
    if kind == "resource_link" or (kind == "resource" and "uri" in block):
        return _link_text(block)
    if isinstance(block.get("text"), str):
        return str(block["text"])
    details = block.get("mimeType")
    return f"[{kind} content{f' ({details})' if details else ''}, not shown]"


def _link_text(link: Mapping[str, Any]) -> str:
    name = link.get("title") or link.get("name") or "a resource"
    details = f": {link['description']}" if link.get("description") else ""
    return f"[{name} at {link.get('uri', 'an unknown address')}{details}]"


def _resource_text(resource: Mapping[str, Any]) -> str:
    """The text of an embedded resource, also of one that was sent as bytes."""
    if isinstance(resource.get("text"), str):
        return str(resource["text"])
    kind, blob = resource.get("mimeType"), resource.get("blob")
    try:
        text = text_of_bytes(base64.b64decode(str(blob), validate=True)) if blob is not None else None
    except ValueError:
        text = None
    return text or f"[resource {resource.get('uri', '')}{f' ({kind})' if kind else ''}, not shown]"


def _is_said(structured: Any, texts: Sequence[str]) -> bool:
    """Whether the texts are the structured content once more, as servers send it to clients that read text only."""
    forms = [structured]
    if isinstance(structured, Mapping) and list(structured) == ["result"]:  # how servers wrap what is no object
        forms.append(structured["result"])
    values = [_parsed(text) for text in texts]
    return any(form in (*values, *texts, values) or as_text(form) in texts for form in forms)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
