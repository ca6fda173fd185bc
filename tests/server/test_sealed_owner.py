"""Whose a stored response is, and whose a cached prompt (``protocol.md#owner``)."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.routing import Route

from stainedglass_output_protection.protocol.owner import (
    cache_salt,
    new_response_id,
    owns_response,
)
from stainedglass_output_protection.protocol.routes import ROUTES
from tests.asgi_driver import Message, body_of, make_ring, protect
from tests.server.asking import ANSWER, CANARY, Recorder, ask, code_of, fresh
from tests.server.sealing import OWNER, Sealed, carrying, sealed

RING = make_ring()
CREATE = "/v1/responses"
OTHER = bytes(32)
MINE = new_response_id(OWNER)


class Server:
    """A recorder behind all routes of the table."""

    def __init__(self, **options: Any) -> None:
        self.app = Recorder()
        routes = [Route(row.path, self.app) for row in ROUTES]
        self._routed = SimpleNamespace(routes=routes)
        self._target = protect(self.app, RING, **options)

    async def ask(
        self,
        path: str,
        *,
        method: str = "POST",
        body: bytes = b"",
        owner: bytes = OWNER,
    ) -> tuple[Sealed, list[Message]]:
        """Ask with a sealed request; return it and what was sent."""
        made = sealed(RING, target=path, method=method, body=body, owner=owner)
        asked: dict[str, Any] = {"path": path, "method": method, "app": self._routed}
        if body:
            sent = await ask(self._target, carrying(made.text), **asked)
        else:
            header = (b"x-sealed-request", made.text.encode())
            sent = await ask(self._target, b"", headers=[header], **asked)
        return made, sent

    async def ask_unsealed(self, path: str, method: str, body: bytes) -> list[Message]:
        """Ask with a request of profile output."""
        _, key = fresh()
        asked: dict[str, Any] = {"path": path, "method": method, "app": self._routed}
        return await ask(self._target, body, header_keys=[key], **asked)

    async def is_served(self, path: str, **asked: Any) -> bool:
        """Tell whether a request is served; else it must get the one refusal."""
        before = self.app.calls
        made, sent = await self.ask(path, **asked)
        assert CANARY.encode() not in body_of(sent)
        if made.open(sent).body == ANSWER:
            assert self.app.calls == before + 1
            return True
        assert made.code(sent) == (404, "response_not_found")
        assert self.app.calls == before
        assert b"owner" not in body_of(sent)
        return False


def ids_of_others() -> dict[str, str]:
    """Return ids that are not the owner's, for every reason."""
    zeros = "0" * 64
    return {
        "another owner's": new_response_id(OTHER),
        "vLLM's": "resp_0123456789abcdef",
        "none": "resp_",
        "zeros": f"resp_{zeros}",
        "another random": "resp_" + ("0" if MINE[5] != "0" else "1") + MINE[6:],
        "another mark": MINE[:-1] + ("0" if MINE[-1] != "0" else "1"),
        "cut": MINE[:-1],
        "longer": MINE + "0",
        "in capitals": "resp_" + MINE[5:].upper(),
        "without its prefix": MINE[5:],
        "of another type": "msg_" + MINE[5:],
        "in front": MINE + " ",
        "new line": MINE + "\n",
    }


@pytest.mark.parametrize(
    ("method", "ending"),
    [("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/cancel"), ("PUT", "")],
)
async def test_a_stored_response_is_its_owner_s_alone(method: str, ending: str) -> None:
    server = Server()
    mine = f"{CREATE}/{MINE}{ending}"
    assert await server.is_served(mine, method=method)
    assert not await server.is_served(mine, method=method, owner=OTHER)
    for response_id in ids_of_others().values():
        path = f"{CREATE}/{response_id}{ending}"
        assert not await server.is_served(path, method=method), response_id


async def test_a_response_is_continued_by_its_owner_alone() -> None:
    server = Server()
    body = json.dumps({"input": "hi", "previous_response_id": MINE}).encode()
    assert await server.is_served(CREATE, body=body)
    assert json.loads(server.app.body)["previous_response_id"] == MINE
    assert not await server.is_served(CREATE, body=body, owner=OTHER)
    odd: list[Any] = [*ids_of_others().values(), "", 7, True, [MINE], {"id": MINE}]
    for value in odd:
        body = json.dumps({"previous_response_id": value}).encode()
        assert not await server.is_served(CREATE, body=body), value
    body = b'{"previous_response_id":null}'
    assert await server.is_served(CREATE, body=body)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"previous_response_id":"{MINE}","previous_response_id":"resp_1"}}',
        '{"previous_respon\\u0073e_id":"resp_1"}',
        '{"x":NaN,"previous_response_id":"resp_1"}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
async def test_no_way_to_write_a_body_hides_what_it_continues(
    body: str, encoding: str
) -> None:
    assert not await Server().is_served(CREATE, body=body.encode(encoding))


async def test_of_two_ids_the_application_gets_the_one_that_was_judged() -> None:
    server = Server()
    body = f'{{"previous_response_id":"resp_1","previous_response_id":"{MINE}"}}'
    assert await server.is_served(CREATE, body=body.encode())
    assert server.app.body.count(b"previous_response_id") == 1
    assert json.loads(server.app.body)["previous_response_id"] == MINE


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"store": True},
        {"store": False},
        {"background": True},
        {"background": True, "store": True, "stream": True},
        {"request_id": "resp_chosen"},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_store", [True, False])
async def test_a_new_response_has_its_owner_s_mark(
    members: dict[str, Any], has_store: bool
) -> None:
    server = Server(has_store=has_store)
    body = json.dumps({"input": "hi", **members}).encode()
    seen = set()
    for _ in range(3):
        made, sent = await server.ask(CREATE, body=body)
        assert made.open(sent).status == 200
        asked = json.loads(server.app.body)
        assert owns_response(OWNER, asked["request_id"])
        assert not owns_response(OTHER, asked["request_id"])
        expected = {"input": "hi", "cache_salt": cache_salt(OWNER), **members}
        assert asked == {**expected, "request_id": asked["request_id"]}
        seen.add(asked["request_id"])
    assert len(seen) == 3


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_the_application_s_to_refuse(
    body: bytes,
) -> None:
    server = Server()
    made, sent = await server.ask(CREATE, body=body)
    assert made.open(sent).status == 200
    assert server.app.body == body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{CREATE}/{MINE}", b""),
        ("POST", f"{CREATE}/{MINE}/cancel", b""),
        ("POST", CREATE, b'{"background":true,"store":false}'),
        ("POST", CREATE, b'{"store":true}'),
        ("POST", CREATE, b"{}"),
        (
            "POST",
            CREATE,
            json.dumps({"store": False, "previous_response_id": MINE}).encode(),
        ),
    ],
)
async def test_what_is_not_sealed_is_refused_as_before(
    method: str, path: str, body: bytes
) -> None:
    server = Server()
    sent = await server.ask_unsealed(path, method, body)
    assert code_of(sent) == (403, "stored_response_refused")
    assert server.app.calls == 0
    # And served where the operator has allowed it.
    server = Server(allows_stored=True)
    sent = await server.ask_unsealed(path, method, body)
    assert sent[0]["status"] == 200
    assert server.app.calls == 1


SALTED = {
    "/v1/chat/completions",
    "/v1/chat/completions/batch",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/score",
    "/score",
    "/generative_scoring",
    "/classify",
    "/pooling",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/systemone",
    "/inference/v1/generate",
    "/invocations",
}
UNSALTED = {"/tokenize", "/v1/messages/count_tokens", "/detokenize", "/adapters"}


@pytest.mark.parametrize("path", sorted(SALTED | UNSALTED))
async def test_a_cached_prompt_is_its_owner_s(path: str) -> None:
    server = Server()
    salts = []
    for owner, body in itertools.product(
        (OWNER, OTHER), (b"{}", b'{"cache_salt":"x"}')
    ):
        made = sealed(RING, target=target_of(path), body=body, owner=owner)
        asked: dict[str, Any] = {"path": path, "app": server._routed}
        sent = await ask(server._target, carrying(made.text), **asked)
        assert made.open(sent).status == 200
        salts.append(json.loads(server.app.body).get("cache_salt"))
    if path in SALTED:
        assert salts == [cache_salt(OWNER), "x", cache_salt(OTHER), "x"]
        assert salts[0] != salts[2]
    else:
        assert salts == [None, "x"] * 2


def target_of(path: str) -> str:
    return path[path.find("/v1/") :] if "/v1/" in path else path


async def test_an_owner_s_secret_goes_nowhere() -> None:
    server = Server()
    made, sent = await server.ask(CREATE, body=b"{}")
    given = server.app.body + repr(server.app.headers).encode() + body_of(sent)
    given += made.open(sent).body
    for form in (OWNER, OWNER.hex().encode(), cache_salt(OWNER).encode()):
        assert form not in body_of(sent) + made.open(sent).body
    assert OWNER not in given
    assert OWNER.hex().encode() not in given
