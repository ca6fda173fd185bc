"""The vectors of sealed requests: the message, how it is carried, opening, replay."""

from __future__ import annotations

import base64
import json
from functools import partial
from itertools import accumulate
from typing import Any

from tests import reference
from tests.reference import (
    HYBRID_SUITE,
    OPAQUE,
    REQUEST_PREFIX,
    SUITE,
    Headers,
    HttpRequest,
    request_text,
)
from tests.vectors.cases import LOW_ORDER_POINTS, little_endian
from tests.vectors.sealed_vocabulary import (
    CHAT,
    Sealing,
    asked,
    encapsulated,
    epoch,
    malformed,
    not_opened,
    opens_as,
    sealed_opens,
)
from tests.vectors.vocabulary import (
    NOW,
    SECOND,
    Vector,
    add_case,
    case,
    client_public,
    flipped,
    header,
    secret,
)

MINUTE_AHEAD = 60 * SECOND
UPLOAD_TYPE = "multipart/form-data; boundary=inner"
UPLOAD = (
    b'--inner\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--inner\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n\x00\x01\xff\r\n--inner--\r\n"
)

# Opened


for suite in (SUITE, HYBRID_SUITE):
    add_case(
        f"sealed_request_of_suite_{suite}",
        "sealed-requests",
        f"A chat request in suite {suite}; the answers to sealed requests are to it.",
        partial(sealed_opens, Sealing(suite=suite)),
    )


@case("sealed-requests")
def sealed_request_of_an_upload() -> Vector:
    """A multipart body with bytes that are no text."""
    target = "/v1/audio/transcriptions"
    request = asked(target=target, content_type=UPLOAD_TYPE, body=UPLOAD)
    return sealed_opens(Sealing(request, HYBRID_SUITE))


@case("sealed-requests")
def sealed_request_without_a_body() -> Vector:
    """A GET has neither a body nor a content type; it has a query."""
    target = (
        f"/v1/responses/{reference.response_id(secret('owner'), bytes(16))}?stream=true"
    )
    request = asked(method="GET", target=target, content_type="", body=b"")
    return sealed_opens(Sealing(request))


@case("sealed-authorization")
def sealed_request_with_authorization() -> Vector:
    """An API key that relays do not hold."""
    return sealed_opens(Sealing(asked(authorization="Bearer sk-1")))


@case("sealed-requests")
def sealed_request_for_an_opaque_answer() -> Vector:
    """The container is asked for inside."""
    return sealed_opens(Sealing(asked(container=OPAQUE)))


@case("sealed-requests")
def sealed_request_of_other_scripts() -> Vector:
    """Text is UTF-8."""
    request = asked(target="/v1/adapters/\u00fc\u20ac", content_type="text/\u00e4")
    return sealed_opens(Sealing(request))


@case("sealed-requests")
def sealed_request_with_more_padding() -> Vector:
    """Recipients check the zeros, not the size."""
    request = asked()
    return sealed_opens(Sealing(request, plaintext=request.plaintext + bytes(321)))


@case("opening")
def sealed_request_to_an_earlier_epoch() -> Vector:
    """An epoch lives on for the overlap."""
    return sealed_opens(Sealing(epoch="earlier epoch"))


@case("opening")
def sealed_request_with_its_key_in_the_clear() -> Vector:
    """The header for clear keys may be there, with the same key."""
    key = header(client_public())["header"]
    return sealed_opens(client_keys=[key])


# Not opened: the text


@case("sealed-requests")
def sealed_text_of_no_bytes() -> Vector:
    """The prefix alone."""
    return malformed(REQUEST_PREFIX)


def text_to_change() -> str:
    """The text of a message of 3n + 1 bytes, which ends in ``==``."""
    request = asked()
    bases = (Sealing(request, plaintext=request.plaintext + bytes(i)) for i in range(3))
    return next(base.text for base in bases if base.text.endswith("=="))


@case("sealed-requests")
def sealed_text_with_stray_bits() -> Vector:
    """The last character holds bits that are no part of the message."""
    good = text_to_change()
    return malformed(good[:-3] + chr(ord(good[-3]) + 1) + "==")


@case("sealed-requests")
def sealed_text_without_padding() -> Vector:
    """The padding is part of the canonical form."""
    return malformed(text_to_change().rstrip("="))


@case("sealed-requests")
def sealed_text_with_excess_padding() -> Vector:
    """One padding character too many."""
    return malformed(text_to_change() + "=")


@case("sealed-requests")
def sealed_text_with_a_line_end() -> Vector:
    """A line end behind."""
    return malformed(Sealing().text + "\n")


@case("sealed-requests")
def sealed_text_with_a_line_end_inside() -> Vector:
    """Base64 in lines, as mail has it."""
    text = Sealing().text
    return malformed(text[:90] + "\n" + text[90:])


@case("sealed-requests")
def sealed_text_with_a_space() -> Vector:
    """A space behind the prefix."""
    return malformed(Sealing().text.replace(".", ". ", 1))


@case("sealed-requests")
def sealed_text_url_safe() -> Vector:
    """The URL-safe alphabet."""
    text = base64.urlsafe_b64encode(Sealing().message).decode("ascii")
    assert "-" in text or "_" in text
    return malformed(REQUEST_PREFIX + text)


@case("sealed-requests")
def sealed_text_not_ascii() -> Vector:
    """A full-width letter."""
    return malformed(Sealing().text.replace("A", "\uff21", 1))


@case("constants")
def sealed_text_with_the_prefix_of_a_frame() -> Vector:
    """The base64 behind another prefix of this protocol."""
    return malformed(Sealing().text.replace(REQUEST_PREFIX, reference.PREFIX))


@case("constants")
def sealed_text_with_the_prefix_of_a_document() -> Vector:
    """The base64 behind the other prefix of this protocol."""
    return malformed(Sealing().text.replace(REQUEST_PREFIX, reference.DOCUMENT_PREFIX))


@case("constants")
def sealed_text_without_its_prefix() -> Vector:
    """The base64 alone."""
    return malformed(Sealing().text.removeprefix(REQUEST_PREFIX))


@case("constants")
def sealed_text_with_the_prefix_in_capitals() -> Vector:
    """A prefix in capitals is another prefix."""
    return malformed(Sealing().text.replace("sgop1-request", "SGOP1-REQUEST"))


# Not opened: the message


for name, end in {
    "version": 0,
    "suite": 1,
    "key_id": 9,
    "client_key": 41,
}.items():
    add_case(
        f"sealed_message_cut_inside_the_{name}",
        "sealed-requests",
        f"The last byte of the {name.replace('_', ' ')} is missing, and all behind it.",
        partial(malformed, request_text(Sealing().message[:end])),
    )

for suite in (SUITE, HYBRID_SUITE):
    enc_end = 42 + len(encapsulated(suite)[0])
    for name, end in {
        "behind_the_client_key": 42,
        "inside_the_encapsulated_key": enc_end - 1,
        "behind_the_encapsulated_key": enc_end,
        "inside_the_tag": enc_end + 15,
        "inside_the_ciphertext": -1,
    }.items():
        add_case(
            f"sealed_message_of_suite_{suite}_cut_{name}",
            "opening",
            f"In suite {suite}, cut {name.replace('_', ' ')}.",
            partial(malformed, request_text(Sealing(suite=suite).message[:end])),
        )
    for name, at in {
        "first_byte_of_the_encapsulated_key": 42,
        "last_byte_of_the_encapsulated_key": enc_end - 2,
        "ciphertext": enc_end,
        "tag": -1,
    }.items():
        add_case(
            f"sealed_message_of_suite_{suite}_with_a_bit_flipped_in_the_{name}",
            "opening",
            f"In suite {suite}, a bit of the {name.replace('_', ' ')}.",
            partial(
                malformed, request_text(flipped(Sealing(suite=suite).message, at, 0x10))
            ),
        )

enc_m_end = 42 + reference.MLKEM_CIPHERTEXT_SIZE


@case("opening")
def sealed_message_with_a_bit_flipped_in_the_ml_kem_part() -> Vector:
    """The last byte of the ML-KEM ciphertext; ML-KEM rejects it in silence."""
    message = Sealing(suite=HYBRID_SUITE).message
    return malformed(request_text(flipped(message, enc_m_end - 1, 0x10)))


@case("suites")
def sealed_message_with_its_x25519_part_exchanged() -> Vector:
    """The other half of the encapsulated key; the combiner has both halves."""
    message = Sealing(suite=HYBRID_SUITE).message
    other = reference.public_half(secret("another ephemeral"))
    changed = message[:enc_m_end] + other + message[enc_m_end + 32 :]
    return malformed(request_text(changed))


for number in (0, 2, 255):
    add_case(
        f"sealed_message_of_version_{number}",
        "opening",
        f"Version {number}, otherwise well sealed.",
        partial(malformed, Sealing(version=number)),
    )

for number in (0, 3, 255):
    add_case(
        f"sealed_message_of_suite_{number}",
        "opening",
        f"Suite {number}, otherwise as suite 1.",
        partial(malformed, Sealing(suite=number)),
    )


@case("opening")
def sealed_message_relabelled_version_2() -> Vector:
    """Sealed as version 1, then called 2."""
    return malformed(request_text(b"\x02" + Sealing().message[1:]))


@case("suites")
def sealed_message_of_suite_1_labelled_2() -> Vector:
    """Sealed in suite 1 with the right info, then called 2."""
    message = Sealing().message
    return malformed(request_text(message[:1] + b"\x02" + message[2:]))


@case("suites")
def sealed_message_of_suite_2_labelled_1() -> Vector:
    """Sealed in suite 2 with the right info, then called 1."""
    message = Sealing(suite=HYBRID_SUITE).message
    return malformed(request_text(message[:1] + b"\x01" + message[2:]))


@case("sealed-requests")
def sealed_message_with_another_digest() -> Vector:
    """Sealed with the digest of another statement for the same keys."""
    return malformed(Sealing(digest=secret("another digest")))


@case("sealed-requests")
def sealed_message_with_the_key_id_of_an_earlier_epoch() -> Vector:
    """The key id of a live epoch, but not of the one it is sealed to."""
    key_id = epoch("earlier epoch").statement.key_id
    return malformed(Sealing(key_id=key_id))


@case("sealed-requests")
def sealed_message_with_its_client_key_exchanged() -> Vector:
    """Somebody puts his own key in place of the client's, to read the answer."""
    message, other = Sealing().message, client_public("another client")
    return malformed(request_text(message[:10] + other + message[42:]))


@case("sealed-requests")
def sealed_message_of_suite_2_with_its_client_key_exchanged() -> Vector:
    """The same in suite 2."""
    message, other = Sealing(suite=2).message, client_public("another client")
    return malformed(request_text(message[:10] + other + message[42:]))


@case("suites")
def sealed_message_for_a_low_order_key() -> Vector:
    """An encapsulated key of low order, and the secret that this gives everybody."""
    return malformed(Sealing(enc=bytes(32), dh=bytes(32)))


# Not opened: the client key

for name, u in LOW_ORDER_POINTS.items():
    add_case(
        f"sealed_message_with_a_client_key_of_low_order_{name}",
        "opening",
        f"The client key is the low-order point {name.replace('_', ' ')}.",
        partial(
            not_opened,
            "client_key_malformed",
            Sealing(client_public_key=little_endian(u)),
        ),
    )


@case("opening")
def sealed_message_with_another_key_in_the_clear() -> Vector:
    """The header for clear keys has somebody else's."""
    other = header(client_public("another client"))["header"]
    return not_opened("client_key_duplicated", Sealing(), client_keys=[other])


@case("opening")
def sealed_message_with_one_of_two_clear_keys_another() -> Vector:
    """The header has the same key, the body's member another."""
    keys = [
        header(client_public(one))["header"] for one in ("client", "another client")
    ]
    return not_opened("client_key_duplicated", Sealing(), client_keys=keys)


@case("opening")
def client_key_is_checked_before_the_key_id() -> Vector:
    """A client key of low order, and a key id of no epoch."""
    sealing = Sealing(client_public_key=bytes(32), key_id=b"no epoch")
    return not_opened("client_key_malformed", sealing)


# Not opened: the key id


@case("opening")
def sealed_message_of_another_server() -> Vector:
    """A key id of no epoch of this server."""
    return not_opened("key_unknown", Sealing(key_id=b"no epoch"))


@case("opening")
def sealed_message_with_a_bit_flipped_in_the_key_id() -> Vector:
    """A bit of the key id."""
    message = flipped(Sealing().message, 9)
    return not_opened("key_unknown", request_text(message))


@case("opening")
def sealed_message_to_a_retired_epoch() -> Vector:
    """The epoch's private halves are gone."""
    return not_opened("key_unknown", Sealing(epoch="retired epoch"))


@case("opening")
def sealed_message_to_an_epoch_at_its_end() -> Vector:
    """The epoch lives up to the millisecond in which it retires, not in it."""
    sealing = Sealing(epoch="earlier epoch")
    end = epoch("earlier epoch").retires_at
    return not_opened("key_unknown", sealing, now=end)


@case("key-document")
def sealed_message_that_asks_for_a_document() -> Vector:
    """Key id 0 and nothing sealed: the answer brings the key document."""
    text = request_text(reference.message_header(SUITE, bytes(8), client_public()))
    return not_opened("key_unknown", text)


@case("opening")
def key_id_is_checked_before_anything_opens() -> Vector:
    """A key id of no epoch, and a ciphertext with a bit flipped."""
    message = flipped(Sealing(key_id=b"no epoch").message, -1)
    return not_opened("key_unknown", request_text(message))


# Not opened: the plaintext, always well sealed

PARTS = asked(authorization="Bearer sk-1").parts
NAMES = (
    "response_secret",
    "owner",
    "time",
    "container",
    "method_length",
    "method",
    "target_length",
    "target",
    "content_type_length",
    "content_type",
    "authorization_length",
    "authorization",
    "body_length",
    "body",
)
LENGTHS = {name: i for i, name in enumerate(NAMES) if name.endswith("_length")}
ENDS = dict(zip(NAMES, accumulate(map(len, PARTS)), strict=True))


def plaintext(data: bytes, suite: int = SUITE) -> Vector:
    return malformed(Sealing(suite=suite, plaintext=data))


def with_part(i: int, value: bytes, padding: int = 0) -> bytes:
    return b"".join([*PARTS[:i], value, *PARTS[i + 1 :]]) + bytes(padding)


@case("sealed-requests")
def sealed_plaintext_empty() -> Vector:
    """No bytes at all, well sealed."""
    return plaintext(b"")


for name, end in ENDS.items():
    add_case(
        f"sealed_plaintext_cut_inside_the_{name}",
        "sealed-requests",
        f"The last byte of the {name.replace('_', ' ')} is missing, and all behind it.",
        partial(plaintext, b"".join(PARTS)[: end - 1]),
    )

for name, i in LENGTHS.items():
    add_case(
        f"sealed_plaintext_with_the_largest_{name}",
        "sealed-requests",
        f"The {name.replace('_', ' ')} is the largest that there is.",
        partial(plaintext, with_part(i, b"\xff" * len(PARTS[i]))),
    )
    longer = (len(PARTS[i + 1]) + 1).to_bytes(len(PARTS[i]), "big")
    add_case(
        f"sealed_plaintext_with_the_{name}_one_too_large",
        "sealed-requests",
        f"The {name.replace('_', ' ')} is one more than what follows it.",
        partial(plaintext, with_part(i, longer)),
    )

for name in ("method", "target", "content_type", "authorization"):
    i = NAMES.index(name)
    add_case(
        f"sealed_plaintext_with_a_{name}_not_in_utf_8",
        "sealed-requests",
        f"A byte 0xFF in the {name.replace('_', ' ')}.",
        partial(plaintext, with_part(i, b"\xff" + PARTS[i][1:], 16)),
    )


@case("sealed-requests")
def sealed_plaintext_with_a_surrogate() -> Vector:
    """Half a surrogate pair, encoded: no UTF-8."""
    i = NAMES.index("authorization")
    return plaintext(with_part(i, b"\xed\xa0\x80" + PARTS[i][3:], 16))


for number in (0, 3, 255):
    add_case(
        f"sealed_plaintext_with_container_{number}",
        "opening",
        f"Container {number} is not of this version.",
        partial(plaintext, with_part(NAMES.index("container"), bytes([number]), 16)),
    )

for name, padding in {
    "first": b"\x01" + bytes(30),
    "last": bytes(30) + b"\x80",
    "only": b"\x01",
}.items():
    add_case(
        f"sealed_plaintext_with_its_{name}_byte_of_padding_not_zero",
        "opening",
        f"The {name} byte behind the body is not zero.",
        partial(plaintext, b"".join(PARTS) + padding),
    )


@case("opening")
def sealed_plaintext_of_suite_2_with_padding_not_zero() -> Vector:
    """The same in suite 2."""
    return plaintext(b"".join(PARTS) + bytes(15) + b"\x01", HYBRID_SUITE)


@case("opening")
def sealed_plaintext_with_the_body_length_one_too_small() -> Vector:
    """The body's last byte is where zeros should be."""
    i = NAMES.index("body_length")
    shorter = (len(CHAT) - 1).to_bytes(4, "big")
    return plaintext(with_part(i, shorter, 16))


# Replay


@case("replay")
def sealed_request_a_minute_ahead() -> Vector:
    """The most that a request may be ahead of the server's clock."""
    return sealed_opens(Sealing(asked(time=NOW + MINUTE_AHEAD)))


@case("replay")
def sealed_request_more_than_a_minute_ahead() -> Vector:
    """A millisecond more than that."""
    sealing = Sealing(asked(time=NOW + MINUTE_AHEAD + 1))
    return not_opened("request_mistimed", sealing)


@case("replay")
def sealed_request_of_the_last_day() -> Vector:
    """The largest time that there is."""
    return not_opened("request_mistimed", Sealing(asked(time=2**64 - 1)))


@case("replay")
def sealed_request_above_the_mark() -> Vector:
    """A millisecond after the mark."""
    return sealed_opens(mark=NOW - SECOND - 1)


@case("replay")
def sealed_request_at_the_mark() -> Vector:
    """Its time is the mark, which is not above it."""
    return not_opened("request_mistimed", Sealing(), mark=NOW - SECOND)


@case("replay")
def sealed_request_below_the_mark() -> Vector:
    """A request from before the server's start."""
    return not_opened("request_mistimed", Sealing(), mark=NOW)


@case("replay")
def sealed_request_after_others() -> Vector:
    """Another request is known, this one is not."""
    return sealed_opens(seen=["another response secret"])


@case("replay")
def sealed_request_replayed() -> Vector:
    """The same message again."""
    return not_opened("request_replayed", Sealing(), seen=["response secret"])


@case("replay")
def sealed_request_of_suite_2_replayed() -> Vector:
    """The same message again, among others, in suite 2."""
    seen = ["another response secret", "response secret"]
    return not_opened("request_replayed", Sealing(suite=2), seen=seen)


@case("replay")
def sealed_request_with_a_response_secret_used_twice() -> Vector:
    """Another message with the same secret, of another client, to another epoch."""
    sealing = Sealing(asked(body=b"{}"), epoch="earlier epoch", client="another client")
    return not_opened("request_replayed", sealing, seen=["response secret"])


@case("opening")
def plaintext_is_checked_before_the_replay() -> Vector:
    """Known, and with padding that is not zero."""
    return malformed(
        Sealing(plaintext=asked().plaintext[:-1] + b"\x01"), seen=["response secret"]
    )


# Carriage


def http(
    body: object,
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    query: str = "",
    headers: Headers = (),
) -> HttpRequest:
    """A request whose body is JSON, a text or nothing."""
    given = list(headers)
    if not isinstance(body, (str, bytes)):
        given.append(("content-type", "application/json"))
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    return HttpRequest(method, path, query, given, data)


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(sealing: Sealing | None = None, **members: Any) -> dict[str, Any]:
    text = (sealing or Sealing()).text
    return {"model": "m", "stream": True, "messages": messages(text)} | members


def carried(request: HttpRequest, sealing: Sealing | None = None, **how: Any) -> Vector:
    return opens_as((sealing or Sealing()).request, request, **how)


@case("carriage")
def carried_by_chat() -> Vector:
    """Where the prompt would be."""
    return carried(http(chat()))


@case("carriage")
def carried_by_completions() -> Vector:
    """As the prompt; nothing else is shown."""
    sealing = Sealing(asked(target="/v1/completions", body=b'{"prompt":"Hi"}'))
    return carried(http({"prompt": sealing.text}, path="/v1/completions"), sealing)


@case("carriage")
def carried_by_embeddings() -> Vector:
    """As the input, in suite 2."""
    request = asked(target="/v1/embeddings", body=b'{"model":"e","input":[1,2]}')
    sealing = Sealing(request, HYBRID_SUITE)
    body = {"model": "e", "input": sealing.text}
    return carried(http(body, path="/v1/embeddings"), sealing)


@case("carriage")
def carried_by_any_json() -> Vector:
    """As an added member, on a route without a segment ``v1``, behind a prefix."""
    sealing = Sealing(asked(target="/rerank", body=b'{"query":"q","documents":[]}'))
    return carried(http({"sealed": sealing.text}, path="/team/a/rerank"), sealing)


def upload(sealing: Sealing, model: str | None = "m") -> HttpRequest:
    shown = (
        f'--outer\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        if model
        else ""
    )
    body = (
        f'{shown}--outer\r\ncontent-disposition: form-data; name="file"; filename="f"'
        f"\r\ncontent-type: application/octet-stream\r\n\r\n{sealing.text}\r\n"
        "--outer--\r\n"
    )
    headers = [("content-type", "multipart/form-data; boundary=outer")]
    return http(body, path="/v1/audio/transcriptions", headers=headers)


def upload_sealing() -> Sealing:
    target = "/v1/audio/transcriptions"
    return Sealing(asked(target=target, content_type=UPLOAD_TYPE, body=UPLOAD))


@case("carriage")
def carried_by_an_upload() -> Vector:
    """In the part ``file``, with the model beside it."""
    return carried(upload(upload_sealing()), upload_sealing())


def get_sealing() -> Sealing:
    target = "/v1/responses/resp_a?stream=true&x=%20"
    return Sealing(asked(method="GET", target=target, content_type="", body=b""))


def get(**how: Any) -> HttpRequest:
    headers = [("x-sealed-request", get_sealing().text)]
    usual = {"method": "GET", "path": "/v1/responses/resp_a"}
    return http(b"", headers=headers, **(usual | {"query": "stream=true&x=%20"} | how))


@case("carriage")
def carried_by_a_header() -> Vector:
    """A request without a body."""
    return carried(get(), get_sealing())


@case("sealed-requests")
def carried_below_a_prefix_in_other_escapes() -> Vector:
    """The target begins at the first segment ``v1`` and is percent-decoded."""
    return carried(get(path="/gw/openai/v1/responses/resp%5F%61"), get_sealing())


@case("sealed-requests")
def carried_to_a_path_with_two_segments_v1() -> Vector:
    """The first of them counts."""
    request = asked(
        method="GET", target="/v1/responses/v1/cancel", content_type="", body=b""
    )
    sealing = Sealing(request)
    headers = [("x-sealed-request", sealing.text)]
    path = "/gw/v1x/v1/responses/v1/cancel"
    return carried(http(b"", method="GET", path=path, headers=headers), sealing)


@case("carriage")
def carried_in_unknown_members() -> Vector:
    """The first string with the prefix, at any depth; names are none."""
    text = Sealing().text
    body = {text: 1, "a": [None, {"b": "sgop1-reques"}], "z": [[{"y": [text]}]]}
    return carried(http(body))


@case("carriage")
def carried_with_other_members_outside() -> Vector:
    """Everything else outside is ignored, never merged."""
    others: dict[str, Any] = {
        "temperature": 2,
        "cache_salt": "x",
        "tools": [{"type": "function"}],
    }
    return carried(http(chat(**others)))


@case("carriage")
def carried_before_another() -> Vector:
    """The first string counts, whatever stands behind it."""
    return carried(http(chat(user=Sealing(client="another client").text + "A")))


@case("carriage")
def carried_without_model_and_stream() -> Vector:
    """They are compared where they are there."""
    return carried(http({"messages": messages(Sealing().text)}))


@case("carriage")
def carried_with_a_stream_of_false() -> Vector:
    """Inside, none is false."""
    sealing = Sealing(asked(body=b'{"model":"m"}'))
    return carried(http(chat(sealing, stream=False)), sealing)


# Carriage: refused


def mismatched(request: HttpRequest, **how: Any) -> Vector:
    return not_opened("sealed_request_mismatch", request, **how)


for name, request in {
    "another_method": http(chat(), method="PUT"),
    "another_path": http(chat(), path="/v1/completions"),
    "a_longer_path": http(chat(), path="/v1/chat/completions/batch"),
    "a_slash_behind": http(chat(), path="/v1/chat/completions/"),
    "a_slash_doubled": http(chat(), path="/v1//chat/completions"),
    "a_query": http(chat(), query="user=1"),
    "another_model": http(chat(model="other")),
    "a_model_that_is_null": http(chat(model=None)),
    "a_stream_that_is_false": http(chat(stream=False)),
    "a_stream_asked_for": http(
        chat(Sealing(asked(body=b'{"model":"m"}')), stream=True)
    ),
    "a_stream_of_1": http(chat(stream=1)),
    "a_stream_of_null": http(chat(Sealing(asked(body=b'{"model":"m"}')), stream=None)),
    "a_stream_that_is_a_text": http(chat(stream="true")),
    "a_model_that_is_a_number": http(
        chat(Sealing(asked(body=b'{"model":true,"stream":true}')), model=1)
    ),
    "a_model_that_is_not_inside": http(chat(Sealing(asked(body=b"{}")), stream=False)),
    "another_query": get(query="stream=true&x=+"),
    "its_query_cut_off": get(query=""),
    "another_response": get(path="/v1/responses/resp_b"),
    "another_response_behind_a_slash": get(path="/v1/responses/resp_a%2Fcancel"),
    "an_upload_for_another_model": upload(upload_sealing(), model="other"),
}.items():
    add_case(
        f"carried_with_{name}",
        "opening",
        f"Outside and inside differ: {name.replace('_', ' ')}.",
        partial(mismatched, request),
    )


@case("opening")
def target_is_checked_before_replay() -> Vector:
    """Known, and on another path."""
    request = http(chat(), path="/v1/completions")
    return mismatched(request, seen=["response secret"])


@case("opening")
def replay_is_checked_before_the_members() -> Vector:
    """Known, and with another model."""
    request = http(chat(model="other"))
    return not_opened("request_replayed", request, seen=["response secret"])


@case("carriage")
def carried_twice() -> Vector:
    """The same text in the header and in the body."""
    headers = [("x-sealed-request", Sealing().text)]
    return malformed(http(chat(), headers=headers))


@case("carriage")
def carried_by_two_headers() -> Vector:
    """The same header twice."""
    line = ("x-sealed-request", get_sealing().text)
    request = get()
    return malformed(HttpRequest("GET", request.path, request.query, [line, line], b""))


@case("carriage")
def carried_behind_a_text_that_is_not_canonical() -> Vector:
    """The first string counts, also if it is none that opens."""
    text = Sealing().text
    return malformed(http({"user": REQUEST_PREFIX + "A", "messages": messages(text)}))


@case("carriage")
def carried_in_json_cut_short() -> Vector:
    """A body that is no JSON but has the prefix."""
    headers = [("content-type", "application/json")]
    return malformed(http(json.dumps(chat())[:-1], headers=headers))


@case("carriage")
def carried_in_json_that_names_a_list() -> Vector:
    """JSON in two pieces is no JSON."""
    headers = [("content-type", "application/json")]
    return malformed(http(json.dumps(chat()) + "[]", headers=headers))


@case("opening")
def carried_above_the_limit() -> Vector:
    """The text alone is above the limit; everything in it is good."""
    limit = len(Sealing().text) - 1
    return not_opened("request_too_large", http(chat()), limit=limit)


@case("opening")
def carried_far_above_the_limit() -> Vector:
    """The limit comes before anything is decoded."""
    body = {"messages": messages(REQUEST_PREFIX + "!" * 5000)}
    return not_opened("request_too_large", http(body), limit=4096)


@case("opening")
def carried_within_a_limit() -> Vector:
    """A limit that the whole body keeps."""
    return carried(http(chat()), limit=len(json.dumps(chat())))
