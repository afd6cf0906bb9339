"""A chat template as token ids: the first prompt of a transcript, and the tokens between two replies.

A transcript is extended, never rendered again: the next prompt is the last prompt, the sampled ids as they are, and
the suffix of all that was said since, cut from the template's rendering of the conversation. Rendering again would
replace what the policy sampled by the tokenizer's encoding of its text (other spacing, key order, numbers), and the
tokens that are trained would not be those that were sampled.

Some templates show an earlier reply without its thinking once another question follows. Then the prompt is what the
template shows, to the token, and the call opens a row of its own: what is trained is always what was served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graph.errors import ConfigError
from training.rollouts.chat_template import MARKS, PROBE, PROBE_TOOL, ChatTemplate, common_length
from training.rollouts.conversation import NO_TOOLS, Message, ToolCall, ToolSet, prefix_digests
from training.rollouts.replies import ReplyFormat

_SYSTEM, _QUESTION, _REPLY, _ANSWER = MARKS
_END_OF_THINKING = "</think>"


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
        self.template = ChatTemplate(tokenizer)
        self.end_of_turn = self._end_of_turn()
        ends = frozenset({*end_ids, *_known(tokenizer.eos_token_id)})
        self.end_ids: frozenset[int] = ends if self._ends_thinking(self.end_of_turn) else ends | {self.end_of_turn}
        """What ends a reply when it is sampled."""
        self._ends = [self.template.token(id_) for id_ in ends | {self.end_of_turn}]
        self.replies = ReplyFormat(self.template, self.template.token(self.end_of_turn))
        self._check()

    # Whole conversations

    def prompt(self, messages: Sequence[Message], tools: ToolSet = NO_TOOLS) -> tuple[list[int], int | None]:
        """The prompt for the next reply of a conversation.

        Args:
            messages: the conversation; replies of the policy carry the turn that sampled them.
            tools: the tools on offer.

        Returns:
            The ids, and the index of the message whose transcript they extend; None if they extend none.

        Raises:
            ConfigError: the template cannot hold the conversation.
        """
        whole = self.template.render(messages, tools)
        contexts = prefix_digests(messages, tools)
        for place in range(len(messages) - 1, -1, -1):
            turn = messages[place].turn
            if turn is None or turn.prompt_digest != contexts[place]:
                continue
            before = self.template.render(messages[:place], tools)
            suffix = self._suffix(turn.completion_ids, messages[place], before, whole)
            if suffix is not None:
                return [*turn.prompt_ids, *turn.completion_ids, *suffix], place
        return self.template.encode(whole), None

    def _suffix(self, completion: Sequence[int], reply: Message, before: str, whole: str) -> list[int] | None:
        """What follows a reply's ids, or None where the template shows the reply, or what precedes it, differently."""
        if not whole.startswith(before):
            return None
        shown, end, later = self._first_reply(whole[len(before) :])
        if not end or not self._is_shown(reply, shown, completion):
            return None
        return [*self._closing(completion, end), *self.template.encode(later)]

    def _first_reply(self, text: str) -> tuple[str, str, str]:
        """The reply that a rendered text begins with, the mark of its end, and the rest; the mark may be missing."""
        ends = [(text.index(mark), mark) for mark in self._ends if mark in text]
        if not ends:
            return text, "", ""
        place, mark = min(ends)
        return text[:place], mark, text[place + len(mark) :]

    def _is_shown(self, reply: Message, shown: str, completion: Sequence[int]) -> bool:
        """Whether a template shows all that a reply said, whatever it does to its form."""
        sampled = self.template.decode(completion, special=True)
        if (_END_OF_THINKING in shown) != (_END_OF_THINKING in sampled):
            return False
        parts = [self.template.own_text(reply.thinking), self.template.own_text(reply.content)]
        parts += [self.template.neutral(call.name) for call in reply.calls]
        return all(_squeezed(part) in _squeezed(shown) for part in parts)

    def _closing(self, completion: Sequence[int], end: str) -> list[int]:
        """The end of turn that a reply lacks which was cut off; it was not sampled and carries no loss."""
        ended = bool(completion) and self.template.token(completion[-1]) == end
        return [] if ended else self.template.encode(end)

    # Transcripts of plain messages, turn by turn

    def opening(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """The first prompt of a transcript: roles and texts, up to where the reply begins."""
        return self.template.encode(self.template.render([_message(role, content) for role, content in messages]))

    def extended(self, prompt: Sequence[int], completion: Sequence[int], content: str) -> list[int]:
        """The next prompt: the transcript with the reply as the template shows it from now on, and a user message.

        Raises:
            ConfigError: the template changes what precedes the reply in a way that ids cannot follow.
        """
        said = self.replies.read(completion, prompt=prompt)
        reply = Message("assistant", said.content, thinking=said.thinking, own=True)
        opening = [Message("system", _SYSTEM), Message("user", _QUESTION)]
        before = self.template.render(opening)
        whole = self.template.render([*opening, reply, Message("user", content)])
        suffix = self._suffix(completion, reply, before, whole)
        if suffix is not None:
            return [*prompt, *completion, *suffix]
        common = common_length(before, whole)
        begun = self.template.encode(before[common:])
        kept = len(prompt) - len(begun)
        if list(prompt[kept:]) != begun:
            raise ConfigError("The model's chat template changes a prompt once it has been answered; choose another.")
        return [*prompt[:kept], *self.template.encode(whole[common:])]

    def encoded(self, text: str) -> list[int]:
        """A reply's text as ids, without the end of turn."""
        return self.template.encode(self.template.own_text(text))

    def text(self, ids: Sequence[int]) -> str:
        """A completion in words, without the end of turn."""
        return self.template.decode(ids)

    # At the start

    def _end_of_turn(self) -> int:
        """The first control token after the reply of a dummy conversation."""
        roles = ("system", "user", "assistant", "user")
        messages = [_message(role, text) for role, text in zip(roles, MARKS, strict=True)]
        text = self.template.render(messages)
        if any(text.count(mark) != 1 for mark in MARKS):
            raise ConfigError(
                "The model's chat template does not show every message exactly once, so a transcript cannot be built "
                "turn by turn; choose another model."
            )
        token = self.template.first_control(text.split(_REPLY)[1])
        if token is None:
            raise ConfigError("The model's chat template does not mark where a reply ends; choose another model.")
        return token

    def _ends_thinking(self, end_of_turn: int) -> bool:
        """Whether the mark also stands between a reply's thinking and its content (gpt-oss), and so does not end it."""
        reply = Message("assistant", _REPLY, thinking=_ANSWER)
        text = self.template.render([Message("user", _QUESTION), reply], prompt=False)
        return self.template.token(end_of_turn) in text.partition(_ANSWER)[2].partition(_REPLY)[0]

    def _check(self) -> None:
        """Transcripts that are built must equal those that the template renders: plain, with thinking, with tools."""
        opening = [Message("system", _SYSTEM), Message("user", _QUESTION)]
        answer = Message("user", _ANSWER)
        later = self.template.render([*opening, Message("assistant", _REPLY), answer])
        if later.split(_QUESTION)[0] != self.template.render(opening).split(_QUESTION)[0]:
            raise ConfigError(
                "The model's chat template renders earlier turns differently once later ones follow, so what is served "
                "would not be what was trained; choose another model or template."
            )
        self._check_pieces([*opening, Message("assistant", _REPLY)], [answer])
        self._check_pieces([*opening, Message("assistant", _REPLY, thinking=_SYSTEM)], [answer])
        if not self.template.refuses_tools:
            call = ToolCall(PROBE_TOOL, {"key": _REPLY}, "c00000000")
            result = Message("tool", _ANSWER, name=call.name, call_id=call.id)
            self._check_pieces([*opening, Message("assistant", calls=(call,))], [result], PROBE)
            self._check_pieces([*opening, Message("assistant", calls=(call,))], [result, answer], PROBE)

    def _check_pieces(self, replied: Sequence[Message], later: Sequence[Message], tools: ToolSet = NO_TOOLS) -> None:
        """What is encoded piece by piece must be what the tokenizer makes of the whole."""
        before = self.template.render(replied[:-1], tools)
        whole = self.template.render([*replied, *later], tools)
        if not whole.startswith(before):
            return
        shown, end, rest = self._first_reply(whole[len(before) :])
        pieces = [part for text in (before, shown + end, rest) for part in self.template.encode(text)]
        if pieces != self.template.encode(whole):
            raise ConfigError(
                "The model's tokenizer cuts a conversation into other tokens than its messages one by one, so what is "
                "served would not be what was trained; choose another model."
            )


def _message(role: str, content: str) -> Message:
    if role not in ("system", "user", "assistant", "tool"):
        raise ConfigError(f"A message of the role {role!r} has no place in a chat template.")
    return Message(role, content)  # type: ignore[arg-type]  # one of the four


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _known(ids: int | Sequence[int] | None) -> Sequence[int]:
    return () if ids is None else (ids,) if isinstance(ids, int) else ids
