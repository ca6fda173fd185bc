"""Envelopes of chat completions and of completions, unary and streamed."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.envelope import (
    CARRIER,
    SEALED_EVENT,
    Envelope,
    body_of,
    encode,
    event_of,
)
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.readable import (
    Common,
    Number,
    Text,
    error_members,
    present,
    read,
    reader,
    shown_finish_reason,
    shown_role,
    shown_usage,
)
from stainedglass_output_protection.protocol.usage_end import with_usage

_FINISH_WIDTH = len('"length"')


class Message(Struct, gc=False):
    """A chat message or delta."""

    role: Text = UNSET


class Choice(Struct, gc=False):
    """A choice of a chat completion or a completion, unary or streamed."""

    index: Number = UNSET
    delta: Message | UnsetType | None = UNSET
    message: Message | UnsetType | None = UNSET
    finish_reason: Text = UNSET


class Completion(Common):
    """A chat completion or a completion, or one event of them."""

    choices: list[Choice] | UnsetType = UNSET


_completion = reader(Completion)


class ChatEnvelopes(PlainEnvelopes):
    """The envelopes of one response. ``is_chat`` is false for completions."""

    def __init__(self, *, is_chat: bool, shows_transfer: bool = False) -> None:
        super().__init__(shows_transfer=shows_transfer)
        self._is_chat = is_chat
        self._latest: Completion | None = None
        self._envelope = SEALED_EVENT

    def body(self, body: bytes) -> Envelope:
        """Return the envelope of a unary body. It always has room."""
        members = read(_completion, body)
        if members is None or not members.choices:
            if members is not None and members.choices is not UNSET:
                self._constants = {"choices": []}
            return super().body(body)
        shown = self._members(members, is_padded=False)
        if members.usage is not UNSET:
            shown["usage"] = shown_usage(members.usage)
        return body_of(shown)

    def event(self, data: bytes) -> Envelope:
        """Return the envelope of one event: the same object while it is the same."""
        try:
            members = _completion.decode(data)
        except JSON_ERRORS:
            return SEALED_EVENT
        if members.choices is UNSET and members.error is UNSET:
            return SEALED_EVENT
        usage, members.usage = members.usage, UNSET
        if members != self._latest:
            self._latest = members
            self._envelope = event_of(self._members(members, is_padded=True))
        return self._envelope if usage is UNSET else with_usage(self._envelope, usage)

    def final(self, data: bytes | None) -> Envelope:
        """Return the envelope of the final event, in the shape of the latest one."""
        latest = self._latest
        if latest is None or latest.choices is UNSET:
            return SEALED_EVENT
        last = Choice(index=0, delta=Message(), finish_reason=None)
        shape = Completion(
            id=latest.id,
            object=latest.object,
            created=latest.created,
            model=latest.model,
            choices=[last],
        )
        return event_of(self._members(shape, is_padded=True))

    def _members(self, completion: Completion, *, is_padded: bool) -> dict[str, Any]:
        members = present(
            id=completion.id,
            object=completion.object,
            created=completion.created,
            model=completion.model,
        )
        carrier: str | None = CARRIER
        if completion.error:
            members["error"] = error_members(completion.error, CARRIER)
            carrier = None
        if completion.choices is not UNSET:
            choices: list[dict[str, Any]] = []
            for choice in completion.choices:
                choices.append(self._choice(choice, carrier, is_padded=is_padded))
                carrier = None
            members["choices"] = choices
        members.update(self.transfer(completion))
        return members

    def _choice(
        self, choice: Choice, carrier: str | None, *, is_padded: bool
    ) -> dict[str, Any]:
        members = present(index=choice.index)
        if not self._is_chat:
            members["text"] = carrier or ""
        elif choice.message is not UNSET:
            members["message"] = _message(choice.message, carrier)
        else:
            members["delta"] = _message(choice.delta, carrier)
        if choice.finish_reason is not UNSET:
            shown = shown_finish_reason(choice.finish_reason)
            members["finish_reason"] = (
                Raw(encode(shown).rjust(_FINISH_WIDTH)) if is_padded else shown
            )
        return members


def _message(message: Any, carrier: str | None) -> dict[str, Any]:
    role = shown_role(message.role) if isinstance(message, Message) else UNSET
    return present(role=role, content=carrier if carrier is not None else UNSET)
