"""The client key as a member of the request's body, beside or in place of the header."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest

from tests.asgi_driver import Opened, answering, body_of, protect
from tests.server.asking import ANSWER, CANARY, JSON, Recorder, ask, code_of, fresh

NAME = "sg_client_public_key"
PAIR, KEY = fresh()
_, OTHER = fresh()
# Numbers, escapes and white space as another encoder would not write them.
PROMPT = (
    rb'"messages": [{"content" : "\u00fc \/ ' + NAME.encode() + rb' \ud83e\udd80"}]'
)
REST = PROMPT + rb', "temperature":1.50, "seed":12345678901234567890123'


def with_member(value: Any = KEY, name: str = NAME, rest: bytes = REST) -> bytes:
    return (
        b'{"model":"m",' + json.dumps({name: value}).encode()[1:-1] + b"," + rest + b"}"
    )


async def test_a_key_in_the_body_alone_is_enough() -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member())
    opened = Opened(sent, PAIR)
    assert opened.body == ANSWER
    assert opened.is_complete
    assert CANARY.encode() not in body_of(sent)


async def test_the_application_sees_the_other_members_as_they_were_written() -> None:
    app = Recorder()
    await ask(protect(app), with_member())
    assert json.loads(app.body) == json.loads(b'{"model":"m",' + REST + b"}")
    assert KEY.encode() not in app.body
    assert PROMPT.partition(b": ")[2] in app.body
    assert b'"temperature":1.50' in app.body
    assert b"12345678901234567890123" in app.body
    assert app.values(b"content-length") == [str(len(app.body)).encode()]


@pytest.mark.parametrize("place", ["first", "middle", "last", "only"])
async def test_the_member_may_stand_anywhere(place: str) -> None:
    member = f'"{NAME}":"{KEY}"'
    body = {
        "first": f' {{ {member} , "a":[1.0]}}',
        "middle": f'{{"a":[1.0],{member},"b":""}}',
        "last": f'{{"a":[1.0],\n{member}\n}}\n',
        "only": f"{{{member}}}",
    }[place]
    left = {"first": {"a": [1.0]}, "last": {"a": [1.0]}, "only": {}}
    app = Recorder()
    sent = await ask(protect(app), body.encode())
    assert Opened(sent, PAIR).body == ANSWER
    assert json.loads(app.body) == left.get(place, {"a": [1.0], "b": ""})


async def test_equal_keys_in_header_and_body_are_one() -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(), header_keys=[KEY])
    assert Opened(sent, PAIR).body == ANSWER
    assert KEY.encode() not in app.body


ESCAPED = NAME.replace("s", "\\u0073", 1)


@pytest.mark.parametrize(
    ("body", "header_keys"),
    [
        (with_member(OTHER), [KEY]),
        (with_member(""), [KEY]),
        (with_member(None), [KEY]),
        (with_member(), [KEY, KEY]),
        (with_member(), [KEY, OTHER]),
        (b"{}", [KEY, KEY]),
        (with_member(rest=f'"{NAME}":"{KEY}"'.encode()), []),
        (with_member(rest=f'"{NAME}":"{OTHER}"'.encode()), []),
        (with_member(rest=f'"{ESCAPED}":"{KEY}"'.encode()), []),
        (with_member(rest=f'"{ESCAPED}":"{OTHER}"'.encode()), [KEY]),
        (with_member(rest=f'"x":NaN,"{NAME}":"{KEY}"'.encode()), []),
    ],
    ids=itertools.count(),
)
async def test_more_than_one_key_is_refused(
    body: bytes, header_keys: list[str]
) -> None:
    app = Recorder()
    sent = await ask(protect(app), body, header_keys=header_keys)
    assert code_of(sent) == (400, "client_key_duplicated")
    assert app.calls == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        True,
        [KEY],
        {NAME: KEY},
        "",
        KEY[:-1],
        KEY + " ",
        KEY + "\n",
        KEY.rstrip("="),
        "ü" * 44,
        "\ud800" * 44,
        base64.b64encode(bytes(32)).decode(),
    ],
    ids=itertools.count(),
)
async def test_a_malformed_member_is_refused_without_an_echo(value: Any) -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(value))
    assert code_of(sent) == (400, "client_key_malformed")
    assert app.calls == 0
    assert not value or str(value).strip().encode(errors="replace") not in body_of(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        f'"{NAME}"'.encode(),
        f'[{{"{NAME}":"{KEY}"}}]'.encode(),
        f'{{"prompt":"{NAME}"}}'.encode(),
        json.dumps({"prompt": f'"{NAME}":"{KEY}"'}).encode(),
        json.dumps({"extra_body": {NAME: KEY}}).encode(),
        json.dumps({NAME + "s": KEY, NAME.upper(): KEY}).encode(),
        f'{{"{NAME}":"{KEY}"'.encode(),
        f'{{"{NAME}":"{KEY}",}}'.encode(),
        # The name has to be written out, so that most bodies need no second parser.
        f'{{"{ESCAPED}":"{KEY}"}}'.encode(),
        with_member().decode().encode("utf-16"),
        with_member().decode().encode("utf-16-le"),
        with_member().decode().encode("utf-32"),
    ],
    ids=itertools.count(),
)
async def test_what_is_no_top_level_member_is_no_key(body: bytes) -> None:
    app = Recorder()
    assert code_of(await ask(protect(app), body)) == (400, "client_key_missing")
    assert app.calls == 0
    sent = await ask(protect(app), body, header_keys=[KEY])
    assert Opened(sent, PAIR).body == ANSWER
    assert app.body == body


@pytest.mark.parametrize(
    "odd",
    [
        b'"x":NaN',
        b'"x":-Infinity',
        b'"x":"\xed\xa0\x80"',
        b'"\\ud800":1',
        b'"a":1,"a":2',
        b'"":[]',
        b'"x":' + b"[" * 300 + b"]" * 300,
    ],
)
async def test_what_parsers_take_beyond_json_is_still_served(odd: bytes) -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(rest=odd))
    assert Opened(sent, PAIR).body == ANSWER
    expected = json.loads(b'{"model":"m",' + odd + b"}")
    assert repr(json.loads(app.body)) == repr(expected)
    assert app.values(b"content-length") == [str(len(app.body)).encode()]


async def test_a_byte_order_mark_hides_no_member() -> None:
    app = Recorder()
    sent = await ask(protect(app), b"\xef\xbb\xbf" + with_member())
    assert Opened(sent, PAIR).body == ANSWER
    assert NAME not in json.loads(app.body)


@pytest.mark.parametrize("depth", [900, 2_000, 100_000])
async def test_a_deeply_nested_body_is_no_server_error(depth: int) -> None:
    body = with_member(rest=b'"x":' + b"[" * depth + b"]" * depth)
    sent = await ask(protect(Recorder()), body)
    assert sent[0]["status"] in (200, 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/JSON ; charset=utf-8",
        "application/merge-patch+json",
        " application/json",
    ],
)
async def test_every_json_type_has_members(content_type: str) -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(), content_type=content_type)
    assert Opened(sent, PAIR).body == ANSWER
    assert NAME not in json.loads(app.body)


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/jsonl"])
async def test_what_a_body_is_called_does_not_matter(content_type: str | None) -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(), content_type=content_type)
    assert Opened(sent, PAIR).body == ANSWER
    assert NAME not in json.loads(app.body)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "audio/wav", "application/octet-stream"]
)
async def test_an_upload_has_no_member(content_type: str) -> None:
    app = Recorder()
    sent = await ask(protect(app), with_member(), content_type=content_type)
    assert code_of(sent) == (400, "client_key_missing")
    assert app.calls == 0


async def test_multipart_reaches_the_application_untouched_and_in_its_pieces() -> None:
    pieces = [
        b'--b\r\ncontent-disposition: form-data; name="' + NAME.encode() + b'"\r\n\r\n',
        KEY.encode() + b"\r\n--b\r\n",
        b'content-disposition: form-data; name="file"\r\n\r\n\x00\xff\r\n--b--\r\n',
    ]
    taken: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in pieces:
            taken.append((await receive())["body"])
        await answering(ANSWER, content_type=JSON)(scope, receive, send)

    form = "multipart/form-data; boundary=b"
    sent = await ask(protect(app), *pieces, content_type=form)
    assert code_of(sent) == (400, "client_key_missing")
    sent = await ask(protect(app), *pieces, content_type=form, header_keys=[KEY])
    assert Opened(sent, PAIR).body == ANSWER
    assert taken == pieces


async def test_member_and_header_can_be_renamed() -> None:
    app = Recorder()
    target = protect(app, client_key_member="k", client_key_header="x-k")
    sent = await ask(target, with_member(name="k"))
    assert Opened(sent, PAIR).body == ANSWER
    assert "k" not in json.loads(app.body)
    sent = await ask(target, with_member(), headers=[(b"x-k", KEY.encode())])
    assert Opened(sent, PAIR).body == ANSWER
    sent = await ask(target, with_member(), header_keys=[KEY])
    assert code_of(sent) == (400, "client_key_missing")


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_body_may_come_in_many_pieces(size: int) -> None:
    body = with_member()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    app = Recorder()
    sent = await ask(protect(app), *pieces, b"")
    assert Opened(sent, PAIR).body == ANSWER
    whole = Recorder()
    await ask(protect(whole), body)
    assert app.body == whole.body


@pytest.mark.parametrize(
    "pieces", [[b""], [with_member()], [b'{"mo', b'del":']], ids=itertools.count()
)
async def test_a_client_that_leaves_before_its_body_ends_gets_no_answer(
    pieces: list[bytes],
) -> None:
    app = Recorder()
    assert await ask(protect(app), *pieces, is_cut=True, header_keys=[KEY]) == []
    assert app.calls == 0


@pytest.mark.parametrize("header_keys", [[], [KEY]])
async def test_the_application_still_learns_that_its_client_left(
    header_keys: list[str],
) -> None:
    app = Recorder(waits=True)
    sent = await ask(protect(app), with_member(), header_keys=header_keys, leaves=True)
    assert app.after == {"type": "http.disconnect"}
    assert sent == []
