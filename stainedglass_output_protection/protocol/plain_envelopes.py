"""Envelopes of bodies that gateways do not look into, and of every error.

The frame stands in an added member ``sealed``, or where the route's text would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from stainedglass_output_protection.protocol.envelope import (
    CARRIER,
    SEALED_EVENT,
    Envelope,
    body_of,
)
from stainedglass_output_protection.protocol.readable import (
    Common,
    ErrorInfo,
    error_members,
    present,
    read,
    reader,
    shown_usage,
    transfer_members,
)

_common = reader(Common)


DONE_EVENT = b"data: [DONE]\n\n"
SERVER_ERROR = (
    b'data: {"error":{"message":"The server failed while it was answering.",'
    b'"type":"InternalServerError","param":null,"code":500}}\n\n'
)


class PlainEnvelopes:
    """The envelopes of one response.

    ``constants`` are members that the body's type requires, the same in every body;
    one of them may hold ``CARRIER``, otherwise ``sealed`` is added. ``shows_transfer``
    makes ``kv_transfer_params`` readable. ``failure`` is what ends a stream whose
    application raised.
    """

    failure: tuple[bytes, ...] = (SERVER_ERROR, DONE_EVENT)

    def __init__(
        self,
        constants: Mapping[str, Any] | None = None,
        *,
        shows_transfer: bool = False,
    ) -> None:
        self._constants = constants or {}
        self._shows_transfer = shows_transfer

    def body(self, body: bytes) -> Envelope:
        """Return the envelope of a unary body. It always has room."""
        common = read(_common, body)
        if common is None:
            return body_of({"sealed": CARRIER})
        if common.error:
            return body_of(_error_members(common, common.error))
        members = self.shown(common)
        envelope = body_of({**members, **self._constants})
        if envelope.after is None:
            return body_of({**members, **self._constants, "sealed": CARRIER})
        return envelope

    def shown(self, common: Common) -> dict[str, Any]:
        """Return the readable members that a body has."""
        members = present(
            id=common.id,
            object=common.object,
            created=common.created,
            model=common.model,
        )
        if common.usage is not UNSET:
            members["usage"] = shown_usage(common.usage)
        return {**members, **self.transfer(common)}

    def transfer(self, common: Common) -> dict[str, Any]:
        """Return ``kv_transfer_params``, where the operator shows them."""
        return transfer_members(common, is_shown=self._shows_transfer)

    def event(self, data: bytes) -> Envelope:
        """Return the envelope of one event."""
        return SEALED_EVENT

    def ends(self, data: bytes) -> bool:
        """Tell whether an event says that the stream ends with it."""
        return data == b"[DONE]"

    def final(self, data: bytes | None) -> Envelope:
        """Return the envelope of the final event.

        ``data`` is that of the first of the held events that said it was the last.
        """
        return SEALED_EVENT

    def clear_end(self, payload: bytes) -> bytes:
        """Return the clear events that tell gateways of the end."""
        return DONE_EVENT if payload.endswith(DONE_EVENT) else b""


def _error_members(common: Common, error: ErrorInfo) -> dict[str, Any]:
    """Return an error's envelope, in OpenAI's shape or Anthropic's."""
    shape = {"type": "error"} if common.type == "error" else {}
    return {**shape, "error": error_members(error, CARRIER)}
