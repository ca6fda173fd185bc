"""Sends one probe and waits for its answer, for so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from stainedglass_output_protection import __version__
from stainedglass_output_protection.apps.connection_variables import reading_variables
from stainedglass_output_protection.apps.doctor.failures import failure_of
from stainedglass_output_protection.apps.doctor.inputs import no_url
from stainedglass_output_protection.apps.doctor.observations import Answer
from stainedglass_output_protection.apps.doctor.wire import Recorder, http_library
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.verdict import EXTENSION
from stainedglass_output_protection.errors import OutputProtectionError


class Asker:
    """Asks the server at ``base_url``, each time by a new connection.

    Behind a balancer, a new connection may lead to another replica. Use it as an async
    context manager. An answer takes ``timeout_s`` at most, headers and body together,
    however it drips.

    Raises:
        ImportError: there is no HTTP library.
        ConfigurationError: the environment's proxies or certificates are unusable, or
            ``base_url`` is no URL.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._library, self._binding = http_library()
        self._client: Any = None

    async def __aenter__(self) -> Asker:
        limits = self._library.Limits(max_keepalive_connections=0)
        with reading_variables(self._library):
            self._client = self._library.AsyncClient(
                timeout=None, limits=limits, follow_redirects=False
            )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def get(
        self, path: str, *, has_key: bool, protection: Protection | None = None
    ) -> Answer:
        """Get ``path``, with the API key if ``has_key``."""
        return await self._ask("GET", path, None, has_key, protection, ())

    async def post(
        self,
        path: str,
        members: dict[str, Any] | bytes,
        *,
        has_key: bool,
        protection: Protection | None = None,
        without: Sequence[str] = (),
        also: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> Answer:
        """Post a JSON body; ``content_type`` is what it is called.

        Of the headers that are sent, those of ``without`` are dropped, and those of
        ``also`` are added.
        """
        body = members
        if not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        also = [("content-type", content_type), *also]
        return await self._ask("POST", path, body, has_key, protection, without, also)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        has_key: bool,
        protection: Protection | None,
        without: Sequence[str],
        also: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"sg-vllm-doctor/{__version__}",
        }
        if has_key and self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        url = f"{self._base_url}{path}"
        try:
            request = self._library.Request(
                method, url, headers=[*headers.items(), *also], content=body
            )
        except self._library.InvalidURL:
            raise no_url() from None
        recorder = Recorder(self._library, self._client, without)
        transport: Any = recorder
        if protection is not None:
            transport = self._binding.AsyncProtectedTransport(
                recorder, protection=protection
            )
        answer = Answer(recorder.seen)
        try:
            await asyncio.wait_for(_fill(answer, transport, request), self._timeout_s)
        except OutputProtectionError as error:
            answer.error = type(error).__name__
        except (
            self._library.HTTPError,
            self._library.InvalidURL,
            asyncio.TimeoutError,
            OSError,
        ) as error:
            answer.failure = failure_of(
                error, url, self._timeout_s, has_begun=bool(answer.seen)
            )
        return answer


async def _fill(answer: Answer, transport: Any, request: Any) -> None:
    response = await transport.handle_async_request(request)
    answer.status = response.status_code
    answer.verdict = response.extensions.get(EXTENSION)
    answer.content_type = response.headers.get("content-type", "")
    try:
        async for piece in response.aiter_bytes():
            answer.body += piece
    finally:
        await response.aclose()
