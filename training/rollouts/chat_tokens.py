"""A chat template as token ids: what opens a transcript, and what stands between two replies.

A planner's transcript is built, never rendered again: the next prompt is the last prompt, the sampled ids as they are,
and a suffix. Rendering anew would replace what the policy sampled by what the tokenizer makes of its text, and some
templates drop or trim earlier turns; either way the tokens that are trained would not be those that were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from graph.errors import ConfigError

Message = tuple[str, str]
"""Role and content."""

_MARKS = ("Alpha one.", "Bravo two.", "Charlie three.", "Delta four.")


class ChatTokens:
    """Builds transcripts for one tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        end_ids: further ids that end a reply, e.g. from the model's generation settings.

    Raises:
        ConfigError: the template is missing, takes no system message, or does not mark the end of a reply; or a
            transcript that is built turn by turn differs from the one that the template renders.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError("The model's tokenizer has no chat template; train an instruction-tuned model.")
        self._special = sorted(tokenizer.all_special_tokens + list(tokenizer.get_added_vocab()), key=len, reverse=True)
        tail = self._after_a_reply()
        self.end_of_turn: int = self._first_special(tail)
        self.end_ids: frozenset[int] = frozenset({self.end_of_turn, *end_ids, *_known(tokenizer.eos_token_id)})
        end_text = tokenizer.convert_ids_to_tokens(self.end_of_turn)
        between = tail.split(end_text, 1)[1]
        self._before_content, self._after_content = between.split(_MARKS[3], 1)
        self._check()

    def opening(self, messages: Sequence[Message]) -> list[int]:
        """The first prompt of a transcript: system and user message, up to where the reply begins."""
        text = self._render([(role, self._neutral(content)) for role, content in messages])
        return self._encode(text)

    def suffix(self, content: str) -> list[int]:
        """What follows the end of a reply: a user message, up to where the next reply begins."""
        return self._encode(self._before_content + self._neutral(content) + self._after_content)

    def encoded(self, text: str) -> list[int]:
        """A reply's text as ids, without the end of turn."""
        return self._encode(self._neutral(text))

    def text(self, ids: Sequence[int]) -> str:
        """A completion in words, without the end of turn."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def extended(self, prompt: Sequence[int], completion: Sequence[int], content: str) -> list[int]:
        """The next prompt: the whole transcript, closed if the reply was cut off, and a new user message."""
        closing = [] if completion and completion[-1] == self.end_of_turn else [self.end_of_turn]
        return [*prompt, *completion, *closing, *self.suffix(content)]

    def _neutral(self, content: str) -> str:
        """The content with control tokens spelled so that they stay text: a web page cannot end a turn."""
        for token in self._special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _render(self, messages: Sequence[Message]) -> str:
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise ConfigError(
                f"The model's chat template cannot hold a conversation that opens with a system message: {error}."
            ) from error

    def _after_a_reply(self) -> str:
        """What a dummy conversation holds after the model's reply."""
        system, question, reply, answer = _MARKS
        text = self._render([("system", system), ("user", question), ("assistant", reply), ("user", answer)])
        if any(text.count(mark) != 1 for mark in _MARKS):
            raise ConfigError(
                "The model's chat template does not show every message exactly once, so a transcript cannot be built "
                "turn by turn; choose another model."
            )
        return text.split(reply)[1]

    def _first_special(self, tail: str) -> int:
        for token in self._encode(tail):
            if self._tokenizer.convert_ids_to_tokens(token) in self._special:
                return token
        raise ConfigError("The model's chat template does not mark where a reply ends; choose another model.")

    def _check(self) -> None:
        """A transcript that is built must equal the one that the template renders, for ordinary text."""
        system, question, reply, answer = _MARKS
        opening = [("system", system), ("user", question)]
        built = self.extended(self.opening(opening), self._encode(reply), answer)
        whole = [*opening, ("assistant", reply), ("user", answer)]
        if built != self._encode(self._render(whole)):
            raise ConfigError(
                "The model's chat template renders earlier turns differently once later ones follow, so what is served "
                "would not be what was trained; choose another model or template."
            )


def _known(ids: int | Sequence[int] | None) -> Sequence[int]:
    return () if ids is None else (ids,) if isinstance(ids, int) else ids
