"""Model specs: strings such as `embedded`, `embedded+./adapter.gguf`, `ollama:NAME`, `MODEL@http://host:8000/v1`.

`make_model` only parses the string. Nothing is downloaded, started or contacted before the first call (or `preflight`),
so a graph can be built, drawn and type-checked on a machine without any model.

API keys: `AGENTFLOW_API_KEY` is only sent to the address in the spec, so only those who may have the key may choose
the spec (`graph.limits`); keys of well-known providers (`OPENAI_API_KEY`,
...) are only sent to those providers, by LangChain's own classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from graph.errors import ConfigError
from graph.models.adapters import split_adapter

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from pydantic import SecretStr

FORMS: Final = (
    "`embedded`, `embedded:0.5b`, `embedded:1.5b`, `embedded:OWNER/REPO[:QUANT]` (a GGUF model of the Hub), "
    "`/path/to/model.gguf` (or `./folder` with one), any of these with `+ADAPTER.gguf`, `ollama:NAME`, "
    "`MODEL@http://host:port/v1` (or `vllm:MODEL@...`), `http://host:port/v1` (the only model there), "
    "or `provider:model` such as `openai:gpt-4o-mini`"
)
HARMLESS_FORMS: Final = (
    "`embedded`, `embedded:0.5b`, `embedded:1.5b`, `ollama:NAME`, or a provider's model such as `openai:gpt-4o-mini`"
)
OLLAMA_ADDRESS: Final = "http://127.0.0.1:11434"

_BY_ADDRESS = re.compile(r"(?:(?:vllm|openai-compatible|ollama):)?(?:(?P<model>\S+?)@)?(?P<url>https?://[^\s/@?#]\S*)")
_PATH = re.compile(r"[^:@\s]*/[^:@\s]*|[^:@\s]+\.gguf", re.IGNORECASE)
"""An unambiguous path; any other can be written as `embedded:PATH`."""
_BY_PROVIDER = re.compile(r"(?P<provider>[a-z][a-z0-9_-]*):(?P<model>\S+)")
_KEYS: Final = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google_genai": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "mistralai": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PPLX_API_KEY", "PERPLEXITY_API_KEY"),
    "nvidia": ("NVIDIA_API_KEY",),
}
"""The environment variables of the providers' keys; checked here because every class complains differently."""
_PLAIN_NAME = re.compile(r"(?!.*\.\.)\w[\w.:/-]*", re.ASCII)


def make_model(
    spec: str, *, temperature: float | None = None, max_tokens: int | None = None, timeout: float = 120
) -> BaseChatModel:
    """The chat model for a spec; the same object for the same arguments, so that connections are shared.

    Args:
        spec: One of the forms in `FORMS`.
        temperature: Sampling temperature; None leaves it to the server.
        max_tokens: Maximum tokens of a reply; None leaves it to the server.
        timeout: Time limit of one attempt in seconds.

    Raises:
        ConfigError: the spec is invalid, or the provider's package or key is missing.
    """
    environment = (os.environ.get("AGENTFLOW_API_KEY"), os.environ.get("OLLAMA_HOST"))
    return _made(spec.strip(), temperature, max_tokens, timeout, *environment)


def is_harmless(spec: str) -> bool:
    """Whether anybody may choose this model on somebody else's machine.

    The spec contains no address that would be sent a key, no file, and no repository to fetch: it is the embedded model
    by its own name, or a model's name at Ollama or at a well-known provider (which gets its own key in any case).
    """
    from graph.models.download import MODEL_FILES

    kind, _, name = spec.strip().partition(":")
    if kind == "embedded":
        return name in ("", *MODEL_FILES)
    return kind.replace("-", "_") in (*_KEYS, "ollama") and _PLAIN_NAME.fullmatch(name) is not None


def cheapest_first(models: Iterable[BaseChatModel]) -> list[BaseChatModel]:
    """Models in the order in which to check them: the embedded one last, which may take a download or a minute to load.

    Of the embedded ones, files that the user names come first, since they may not exist.
    """
    from graph.models.embedded import EmbeddedChat

    def cost(model: BaseChatModel) -> int:
        return (1 if Path(model.model).is_absolute() else 2) if isinstance(model, EmbeddedChat) else 0

    return sorted(models, key=cost)


async def preflight(model: BaseChatModel) -> None:
    """Check a model before a run, to fail early with a clear sentence.

    Checks that an OpenAI-compatible server is up and has the model, and starts the embedded model (which may download
    its file). Models of other providers are not contacted. Of several, start with the `cheapest_first`.

    Raises:
        ModelUnavailable, ModelRejected: as in the first call.
        ConfigError, DataError: the embedded model cannot be loaded.
    """
    from graph.models.openai_compatible import OpenAICompatibleChat

    if isinstance(model, OpenAICompatibleChat):
        await model.check()


@lru_cache(maxsize=64)
def _made(
    spec: str,
    temperature: float | None,
    max_tokens: int | None,
    timeout: float,
    api_key: str | None,
    ollama_host: str | None,
) -> BaseChatModel:
    from graph.models.openai_compatible import OpenAICompatibleChat

    settings: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "timeout": timeout}
    whole, (spec, adapter) = spec, split_adapter(spec)
    kind, _, rest = spec.partition(":")
    is_path = _PATH.fullmatch(spec) is not None
    if is_path or (kind == "embedded" and (rest or spec == "embedded")):
        from graph.models.embedded import EmbeddedChat
        from graph.models.embedded_files import model_path_or_name

        return EmbeddedChat(model=model_path_or_name(spec if is_path else rest), adapter=adapter, **settings)
    if adapter.endswith(".gguf"):
        raise ConfigError(
            f"{whole!r} puts an adapter beside a model that is not embedded; write `embedded+ADAPTER.gguf`, or have "
            "the server load the adapter and name it as MODEL@http://host:port/v1."
        )
    spec = whole
    if match := _BY_ADDRESS.fullmatch(spec):
        url, model = match["url"].rstrip("/"), match["model"] or ""
        return OpenAICompatibleChat(model=model, base_url=url, api_key=_secret(api_key), **settings)
    if kind == "ollama" and rest and "@" not in rest:
        return OpenAICompatibleChat(model=rest, base_url=_ollama_url(ollama_host), **settings)
    match = _BY_PROVIDER.fullmatch(spec)
    if match is None or kind in ("vllm", "openai-compatible", "ollama", "http", "https"):
        raise ConfigError(f"{spec!r} names no model; write {FORMS}.")
    return _from_provider(spec, match["provider"].replace("-", "_"), match["model"], settings)


def _secret(key: str | None) -> SecretStr | None:
    from pydantic import SecretStr

    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("AGENTFLOW_API_KEY holds characters that are in no key; copy the key anew.")
    return SecretStr(key) if key else None


def _ollama_url(host: str | None) -> str:
    """The address of Ollama's OpenAI-compatible interface, from any valid form of OLLAMA_HOST."""
    if not host:
        return f"{OLLAMA_ADDRESS}/v1"
    scheme, separator, rest = host.rpartition("://")
    name, _, port = rest.rstrip("/").partition(":")
    # 0.0.0.0 is an address to listen on; not all systems can connect to it.
    name = "127.0.0.1" if name in ("", "0.0.0.0") else name  # noqa: S104
    default_port = {"https": "443", "http": "80"}.get(scheme, "11434")
    return f"{scheme if separator else 'http'}://{name}:{port or default_port}/v1"


def _from_provider(spec: str, provider: str, model: str, settings: dict[str, Any]) -> BaseChatModel:
    keys = _KEYS.get(provider, ())
    if keys and not any(os.environ.get(key) for key in keys):
        raise ConfigError(f"`{spec}` needs the API key of {provider}; set {' or '.join(keys)}.")
    from langchain.chat_models import init_chat_model

    arguments = {name: value for name, value in settings.items() if value is not None}
    try:
        chat: BaseChatModel = init_chat_model(model, model_provider=provider, **arguments)
    except ImportError as error:
        package = _package(error, provider)
        raise ConfigError(f"`{spec}` needs a package; install it with `pip install {package}`.") from error
    except ValueError as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise ConfigError(f"`{spec}` cannot be used ({reason}); write {FORMS}.") from error
    return chat


def _package(error: ImportError, provider: str) -> str:
    """The package to install, from LangChain's message (`pip install langchain-groq`)."""
    named = re.search(r"pip install (?:-\S+ )*[`'\"]?([\w.-]+\w)", str(error))
    return named[1] if named else f"langchain-{provider.replace('_', '-')}"
