"""Keys and passwords are taken out of texts."""

from __future__ import annotations

import pytest

from graph.errors import ConfigError, ModelRejected, RequestRefused
from tools.secrecy import to_be_stored, without_credentials, without_keys, without_secrets

KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 20)
    monkeypatch.setenv("AGENTFLOW_API_KEY", "short")


def test_what_is_no_key_is_left_alone() -> None:
    text = "short words, https://en.wikipedia.org/wiki/Key?action=raw, HF_TOKEN"
    assert without_keys(text) == text
    assert without_keys(f"a {KEY} b hf_{'x' * 20}") == "a [key] b [key]"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("vllm:m@http://me:pass@host:8000/v1", "vllm:m@http://host:8000/v1"),
        ("Is the server at http://host/v1? Start it.", "Is the server at http://host/v1? Start it."),
        ("http://host/v1?api_key=abc, http://b:c@d/v1", "http://host/v1, http://d/v1"),
        ("postgresql://u:p@ss@db/threads", "postgresql://db/threads"),
        ("openai:gpt-4o", "openai:gpt-4o"),
        ("hub:a/b/c.jsonl@math + benchmark:aime24", "hub:a/b/c.jsonl@math + benchmark:aime24"),
        ("'https://u:p@x/y' is down", "'https://x/y' is down"),
    ],
)
def test_addresses_are_shown_without_user_password_and_query(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("GET http://me:pass@host/items?id=21&page=2 gave 404", "GET http://host/items?id=21&page=2 gave 404"),
        ("http://host/v1?api_key=abc&q=x, refused", "http://host/v1?api_key=[key]&q=x, refused"),
        ("https://b.s3/f?X-Amz-Signature=0a1b&author=Ada", "https://b.s3/f?X-Amz-Signature=[key]&author=Ada"),
        ("?keyword=sun&access_token=1", "?keyword=sun&access_token=[key]"),
        (f"--key={KEY}", "--key=[key]"),
        ("re.match(r'https?://(?:www.)?x', 'mailto:a@b')", "re.match(r'https?://(?:www.)?x', 'mailto:a@b')"),
    ],
)
def test_the_error_of_a_tool_shows_what_was_asked_for(said: str, shown: str) -> None:
    assert without_secrets(said) == shown


def test_errors_and_stored_settings_are_without_credentials() -> None:
    sentence = f"The server http://me:pass@host/v1?api_key=abc refused {KEY}."
    for kind in (ConfigError, ModelRejected, RequestRefused):
        assert str(kind(sentence)) == "The server http://host/v1 refused [key]."
    stored = to_be_stored({"model": "m@http://me:pass@host/v1", "more": {"list": (f"--key={KEY}", 1, None)}})
    assert stored == {"model": "m@http://host/v1", "more": {"list": ["--key=[key]", 1, None]}}
