"""Routes of an application that has no router: by path, and none that is not known."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import ASK, CHAT, KINDS, Bare, Identity, answer
from tests.asgi.serving import TIMEOUT_S, served
from tests.asgi_driver import body_of, call


async def asked(app: Any, method: str, path: str, **scope: Any) -> tuple[int, bytes]:
    sent = await call(
        app, method=method, path=path, key_pair=ClientKeyPair.generate(), **scope
    )
    return sent[0]["status"], body_of(sent)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate"),
        ("POST", "/"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/V1/chat/completions"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/chat/completions/../../../health"),
        ("POST", "/health"),
        ("DELETE", "/v1/models"),
        ("GET", "/v1/models/m"),
        ("GET", "/health/"),
        ("GET", "/health\n"),
        ("GET", "/v1/adapters/a/b"),
    ],
)
async def test_what_is_in_no_row_never_reaches_the_application(
    identity: Identity, method: str, path: str
) -> None:
    bare = Bare()
    status, body = await asked(
        protect(bare, identity_key_file=identity.path), method, path
    )

    assert (status, bare.paths) == (403, [])
    assert b"route_not_protected" in body


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/adapters/my-lora", "/adapters/{adapter_name}"),
        ("/vendor/7/ask", "/vendor/{id}/ask"),
    ],
)
async def test_a_row_with_a_name_in_it_is_sealed(
    identity: Identity, path: str, template: str
) -> None:
    bare = Bare()
    app = protect(
        bare,
        identity_key_file=identity.path,
        protected_routes={"/vendor/{id}/ask"},
    )
    status, body = await asked(app, "POST", path)

    assert (status, bare.paths) == (200, [path]), template
    assert b"sgop1." in body


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models/m", 200), ("/v1/models/m/v1/responses", 403)]
)
async def test_an_operator_s_clear_row_with_a_name_in_it(
    identity: Identity, path: str, status: int
) -> None:
    app = protect(
        Bare(), identity_key_file=identity.path, clear_routes="/v1/models/{model_id}"
    )

    assert (await asked(app, "GET", path))[0] == status


async def test_a_clear_row_with_a_name_in_it_takes_nothing_from_other_rows(
    identity: Identity,
) -> None:
    app = protect(
        Bare(),
        identity_key_file=identity.path,
        protected_routes={"/vendor/ask", "/vendor/{id}/words"},
        clear_routes={"/vendor/{name}", "/vendor/{name}/{what}", "/adapters/{any}"},
    )
    for path in ("/vendor/ask", "/vendor/7/words", "/adapters/my-lora"):
        assert b"sgop1." in (await asked(app, "POST", path))[1], path
    assert b"sgop1." not in (await asked(app, "POST", "/vendor/open"))[1]


async def test_a_protected_row_with_a_name_in_it_leaves_probes_clear(
    identity: Identity,
) -> None:
    app = protect(
        Bare(), identity_key_file=identity.path, protected_routes={"/{a}", "/v1/{b}"}
    )
    sent = await call(app, method="GET", path="/health")

    assert (sent[0]["status"], body_of(sent)) == (200, b'{"status":"ok"}')
    assert (await call(app, path="/v1/words"))[0]["status"] == 400


@pytest.mark.parametrize("path", ["/v1/responses/resp_1", "/v1/responses/r/cancel"])
async def test_what_an_engine_keeps_is_not_fetched_by_its_id(
    identity: Identity, path: str
) -> None:
    bare = Bare()
    app = protect(bare, identity_key_file=identity.path)
    _, body = await asked(app, "GET", path)

    assert bare.paths == []
    assert b"sgop1." in body


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_response_is_made_only_if_nobody_could_fetch_it(
    identity: Identity, keeps: bool
) -> None:
    bare = Bare()
    app = protect(bare, identity_key_file=identity.path, keeps_responses=keeps)
    await asked(app, "POST", "/v1/responses")

    assert bare.paths == ([] if keeps else ["/v1/responses"])


@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_it_can_be_mounted_below_a_path(identity: Identity, prefix: str) -> None:
    inner = protect(Bare(), identity_key_file=identity.path)
    client = protected_client(identity=identity.fingerprint, timeout=TIMEOUT_S)
    with served(Starlette(routes=[Mount(prefix or "/", inner)])) as url, client:
        told = client.post(f"{url}{prefix}{CHAT}", json=ASK)

    assert told.json() == answer()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_scope_of_an_unknown_type_is_refused(
    identity: Identity, kind: str
) -> None:
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    made = KINDS[kind]()
    if isinstance(made, Starlette):
        made.router.middleware_stack = app
    protected = protect(
        app if kind == "bare" else made, identity_key_file=identity.path
    )
    with pytest.raises(RuntimeError, match="webtransport"):
        await call(protected, type="webtransport", path=CHAT)
    assert called == []


async def test_the_application_s_scope_is_its_own(identity: Identity) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await Bare()(scope, receive, send)

    await asked(protect(app, identity_key_file=identity.path), "POST", CHAT)

    assert "app" not in seen[0]
