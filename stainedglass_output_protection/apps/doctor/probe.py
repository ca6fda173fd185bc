"""The probes, in their order. Their words are constants: nothing of the user's is sent.

The API key is not sent before the server's identity is known to be the pinned one,
if there is a pin and the server shows its key document at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from stainedglass_output_protection.apps.doctor.asking import Asker
from stainedglass_output_protection.apps.doctor.model_list import first_model
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
    SealedProbe,
    document_in,
)
from stainedglass_output_protection.apps.doctor.request_forms import (
    empty_message,
    with_an_escape,
    with_its_key,
    without_messages,
)
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import (
    DOCUMENT_PATH,
    PROFILE_OUTPUT,
    PROFILE_SEALED,
)
from stainedglass_output_protection.protocol.path_probe import (
    ERROR_MEDIA_TYPE,
    PROBE_PATH,
)
from stainedglass_output_protection.protocol.suites import SUITE_NAMES

MODELS: Final = "/v1/models"
CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
_WORDS: Final = [{"role": "user", "content": "Count from one to fifty."}]
# Routes that answer with words, or with what was asked; each is asked without a key.
_KEYLESS: Final[dict[str, dict[str, Any]]] = {
    CHAT: {"messages": _WORDS, "max_tokens": 1},
    "/v1/completions": {"prompt": "One, two,", "max_tokens": 1},
    "/v1/responses": {"input": "One, two,", "max_output_tokens": 16, "store": False},
    MESSAGES: {"messages": _WORDS, "max_tokens": 1},
    "/v1/embeddings": {"input": "One, two,"},
    "/tokenize": {"prompt": "One, two,"},
}
# Suite, whether it is a stream, and how many tokens; in turn, as often as asked.
_SEALED: Final = (
    ("mlkem768-x25519", False, 4),
    ("mlkem768-x25519", True, 96),
    ("x25519", False, 4),
    ("x25519", True, 2),
)
FEWEST: Final = len(_SEALED)
_LONG = 96
_APART_S: Final = 0.01


@dataclass(frozen=True)
class Target:
    """What is asked, and how. ``settings`` are those of the user's clients."""

    base_url: str
    settings: ClientSettings
    api_key: str | None = None
    model: str | None = None
    probes: int = 8
    timeout_s: float = 30.0
    limit_s: float = 180.0


async def observe(target: Target, seen: Observations) -> None:
    """Ask, and note in ``seen`` what comes; ends after ``limit_s`` whatever happens."""
    try:
        await asyncio.wait_for(_Run(target, seen).run(), target.limit_s)
    except asyncio.TimeoutError:
        seen.ended = f"the run was ended after {target.limit_s:g} s"


class _Run:
    def __init__(self, target: Target, seen: Observations) -> None:
        self._target = target
        self._seen = seen
        # What is to travel sealed must not go out in the clear for the sake of a check.
        self._has_key = not target.settings.seals_authorization

    async def run(self) -> None:
        target, seen = self._target, self._seen
        async with Asker(target.base_url, target.api_key, target.timeout_s) as asker:
            self._asker = asker
            seen.document = await asker.get(DOCUMENT_PATH, has_key=False)
            if seen.document.failure is not None or self._is_refused():
                return
            await self._ask_for_models()
            seen.empty = await self._post(CHAT, empty_message(seen.model))
            if self._is_refused():
                return
            await self._ask_without_key()
            seen.path_probe = await asker.get(PROBE_PATH, has_key=self._has_key)
            await self._ask_for_the_document_again()
            if self._is_refused():
                return
            if not seen.identity or not seen.model:
                return
            await self._ask_in_other_forms(seen.model)
            await self._ask_in_output()
            await self._ask_sealed()
            if seen.provokes_error and any(it.is_opened for it in seen.seals):
                await self._ask_for_an_error(seen.model)

    def _is_refused(self) -> bool:
        """Tell whether a client of this user would end here."""
        seen = self._seen
        documents = seen.documents
        if any(item.error for item in documents):
            seen.ended = "a client would refuse the server's key document"
        elif any(not seen.trusts(item.fingerprint) for item in documents):
            seen.ended = "the server is not the one that this client knows"
        return seen.ended is not None

    async def _ask_for_models(self) -> None:
        seen, asker = self._seen, self._asker
        protection = None
        if seen.identity and not self._has_key:
            protection = self._protection("mlkem768-x25519")
        has_key = self._has_key or protection is not None
        seen.models = await asker.get(MODELS, has_key=has_key, protection=protection)
        if self._target.api_key:
            seen.models_without_key = await asker.get(MODELS, has_key=False)
        seen.model = self._target.model or first_model(seen.models.body)

    async def _ask_without_key(self) -> None:
        for path, members in _KEYLESS.items():
            asked = {"model": self._seen.model or "none", **members}
            self._seen.keyless[path] = await self._post(path, asked)

    async def _ask_for_the_document_again(self) -> None:
        first = self._seen.document
        if first is None or first.last is None or document_in(first.last) is None:
            return
        # Far enough from the first that one server's clock has moved between them.
        await asyncio.sleep(_APART_S)
        again = await self._asker.get(DOCUMENT_PATH, has_key=False)
        self._seen.document_again = again

    async def _ask_in_other_forms(self, model: str) -> None:
        seen, settings = self._seen, self._output_settings
        body, key = with_its_key(model)
        twice = [(settings.client_key_header, key)] * 2
        seen.repeated = await self._post(CHAT, body, also=twice)
        seen.escaped = await self._post(CHAT, with_an_escape(model))
        seen.echoed = await self._post(
            CHAT, without_messages(model), protection=Protection(settings)
        )

    async def _ask_in_output(self) -> None:
        settings = self._output_settings
        # A member of a name that the body has already is not added.
        header_only = Protection(replace(settings, client_key_member="messages"))
        asked = {"model": self._seen.model, "messages": _WORDS, "max_tokens": 4}
        for _ in range(2):  # What a cache has kept, it gives to the second.
            answer = await self._post(CHAT, asked, protection=header_only)
            self._seen.header_only.append(answer)
        self._seen.member_only = await self._post(
            CHAT,
            asked,
            protection=Protection(settings),
            without=(settings.client_key_header,),
        )

    async def _ask_sealed(self) -> None:
        seen = self._seen
        suites = {suite: self._protection(suite) for suite in SUITE_NAMES}
        asked = {"model": seen.model, "messages": _WORDS, "temperature": 0}
        streams = {"stream": True, "stream_options": {"include_usage": True}}
        for number in range(max(self._target.probes, FEWEST)):
            suite, is_stream, tokens = _SEALED[number % len(_SEALED)]
            members = {**asked, "max_tokens": tokens, **(streams if is_stream else {})}
            answer = await self._post_sealed(CHAT, members, suites[suite])
            probe = SealedProbe(suite, is_stream, tokens == _LONG, answer)
            seen.sealed.append(probe)
        protection = suites["mlkem768-x25519"]
        wrong = {**asked, "max_tokens": 1, "temperature": -1}
        seen.refused = await self._post_sealed(CHAT, wrong, protection)
        asked = {**asked, "max_tokens": 4, "stream": True}
        seen.named_events = await self._post_sealed(MESSAGES, asked, protection)

    async def _ask_for_an_error(self, model: str) -> None:
        # Sealed, so nothing on the way can tell it from any other request. A server that
        # does not know the content type refuses it, before any model sees it.
        self._seen.provoked = await self._asker.post(
            CHAT,
            {"model": model, "messages": _WORDS, "max_tokens": 1},
            has_key=True,
            protection=self._protection("mlkem768-x25519"),
            content_type=ERROR_MEDIA_TYPE,
        )

    async def _post(self, path: str, members: Any, **how: Any) -> Answer:
        return await self._asker.post(path, members, has_key=self._has_key, **how)

    async def _post_sealed(
        self, path: str, members: dict[str, Any], protection: Protection
    ) -> Answer:
        return await self._asker.post(
            path, members, has_key=True, protection=protection
        )

    @property
    def _settings(self) -> ClientSettings:
        """The user's, for the server that was met; nothing is read or kept in files."""
        return replace(
            self._target.settings,
            pins=frozenset({self._seen.identity}),
            trusts_first_use=False,
            owner_file=None,
            exposed=frozenset(),
            asks_opaque=False,
            verify_evidence=None,
        )

    @property
    def _output_settings(self) -> ClientSettings:
        return replace(
            self._settings, profile=PROFILE_OUTPUT, seals_authorization=False
        )

    def _protection(self, suite: str) -> Protection:
        return Protection(
            replace(self._settings, profile=PROFILE_SEALED, suite=SUITE_NAMES[suite])
        )
