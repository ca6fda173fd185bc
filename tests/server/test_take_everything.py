"""Whoever takes everything from a server opens nothing of an epoch that has retired.

Everything: each object that the key ring leads to, each byte string of a secret's size in
the process, the environment, and the file that the server was given. From each value
found the ratchet is turned forward, as a thief would.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import os
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stainedglass_output_protection.errors import DecryptionError
from stainedglass_output_protection.hosting.fleet import (
    advance_fleet_file,
    read_fleet_file,
)
from stainedglass_output_protection.hosting.private_files import make_private_file
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.suites import (
    SUITE_NUMBERS,
    SuiteKey,
    seal,
)
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochSource, EpochTimes
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
)
from stainedglass_output_protection.server.key_ring import EpochKey
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.shared_epochs import SharedEpochs
from tests.rings import HOUR, Clocks, ring_of_source

TIMES = EpochTimes(HOUR)
SIZE = 32
STEPS = 6
# Through these one reaches every object of the interpreter; they hold no state of ours.
NOT_HELD = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)


class Server:
    """One server process, its clocks, and the file that it has."""

    def __init__(
        self, source: EpochSource, clocks: Clocks, file: Path | None = None
    ) -> None:
        self.source = source
        self.clocks = clocks
        self.file = file
        self.ring = ring_of_source(source, clocks)

    def current(self) -> EpochKey:
        return self.ring.current(self.clocks.now)

    def run_for(self, ms: int) -> None:
        """Let time pass with the ticks in it, then do the operator's part."""
        end = self.clocks.now + ms
        while self.clocks.now < end:
            wait = max(1, self.ring.next_tick_ms(self.clocks.now))
            self.ring.tick(self.clocks.go(min(wait, end - self.clocks.now)))
        if isinstance(self.source, FleetEpochs) and self.file is not None:
            advance_fleet_file(self.file, self.clocks.now)


def own(folder: Path) -> Server:
    clocks = Clocks()
    return Server(OwnEpochs(TIMES, elapsed=clocks.elapsed), clocks)


def shared(folder: Path) -> Server:
    clocks = Clocks()
    path = make_private_file("test", Table().encode())
    return Server(SharedEpochs(path, TIMES, elapsed=clocks.elapsed), clocks, path)


def fleet(folder: Path) -> Server:
    clocks = Clocks()
    path = folder / "fleet"
    path.write_bytes(fleet_text(FleetSecret.generate(TIMES, clocks.now)))
    path.chmod(0o600)
    secret = read_fleet_file(path).fleet
    return Server(FleetEpochs(secret, clocks.now, elapsed=clocks.elapsed), clocks, path)


KINDS = [own, shared, fleet]


class Recording:
    """What an intermediary kept of an epoch, and marks by which to know its secrets."""

    def __init__(self, server: Server) -> None:
        key = server.current()
        pair = ClientKeyPair.generate()
        document = KeyDocument.from_text(key.document_text)
        self.key_id = key.statement.key_id
        self.client_public_key = pair.public_key
        self.response = _cipher(pair.exchange(key.public_key)).encrypt(
            bytes(12), b"the answer", b""
        )
        self.requests = {
            number: seal(number, public_key, b"the prompt", b"info")
            for number, public_key in document.suite_public_keys.items()
        }
        self.public_keys = {key.public_key, *document.suite_public_keys.values()}
        self.marks = {
            mark
            for epoch in server.source.live(server.clocks.now)
            if epoch.span.start == key.statement.epoch
            for mark in map(_mark, _made_of(epoch.secret))
        }

    def opens_with(self, key: EpochKey) -> bool:
        """Tell whether a key opens any of it."""
        opened = False
        try:
            dh = key.exchange(self.client_public_key)
            opened = bool(_cipher(dh).decrypt(bytes(12), self.response, b""))
        except InvalidTag:
            pass
        for number in SUITE_NUMBERS:
            try:
                opened = bool(key.open(number, self.requests[number], b"info"))
            except DecryptionError:
                pass
        return opened


def found_in(server: Server, recording: Recording) -> list[str]:
    """Return where something of the recorded epoch is left."""
    places = []
    gc.collect()
    for item in gc.get_objects():
        if isinstance(item, EpochKeys) and item.response_public_key in (
            recording.public_keys
        ):
            places.append("response key")
        if isinstance(item, SuiteKey) and item.public_key in recording.public_keys:
            places.append("suite key")
        if isinstance(item, EpochKey) and recording.opens_with(item):
            places.append("epoch key")
    for value in set(_values(server)):
        if not recording.marks.isdisjoint(map(_mark, _derived(value))):
            places.append("bytes")
    return places


def _values(server: Server) -> Iterator[bytes]:
    """Yield every value of a secret's size that a thief could find."""
    for item in _reachable(server.ring):
        if isinstance(item, bytes):
            yield from _windows(item)
        elif hasattr(item, "private_bytes_raw"):
            yield item.private_bytes_raw()[:SIZE]
    for holder in gc.get_objects():
        for item in gc.get_referents(holder):
            if isinstance(item, bytes) and len(item) == SIZE:
                yield item
    texts = [value.encode("utf-8", "replace") for value in os.environ.values()]
    if server.file is not None:
        texts.append(server.file.read_bytes())
    for text in texts:
        yield from _windows(text)
        for match in re.findall(rb"[A-Za-z0-9+/]{43}=", text):
            yield base64.b64decode(match)


def _reachable(root: object) -> Iterator[object]:
    seen = {id(root)}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        yield item
        for other in gc.get_referents(item):
            if id(other) not in seen and not isinstance(other, NOT_HELD):
                seen.add(id(other))
                waiting.append(other)


def _windows(data: bytes) -> Iterator[bytes]:
    for at in range(len(data) - SIZE + 1):
        yield data[at : at + SIZE]


def _derived(value: bytes) -> Iterator[bytes]:
    """Yield what a thief can make of a value, by protocol.md#fleet."""
    yield value
    for _ in range(STEPS):
        yield from _made_of(_expand(value, b"sgop1 epoch secret"))
        value = _expand(value, b"sgop1 ratchet")


def _made_of(epoch_secret: bytes) -> list[bytes]:
    """Return an epoch's secret and seeds, by protocol.md#epoch-keys."""
    seeds = [_expand(epoch_secret, b"sgop1 seed" + bytes([use])) for use in (0, 1, 2)]
    inner = hashlib.shake_256(seeds[2]).digest(96)
    return [epoch_secret, *seeds, inner[:32], inner[32:64], inner[64:]]


def _expand(secret: bytes, label: bytes) -> bytes:
    return hmac.digest(secret, label + b"\x01", "sha256")


def _mark(value: bytes) -> str:
    # Not the value itself, which would be found.
    return hashlib.sha256(value).hexdigest()


def _cipher(shared_secret: bytes) -> AESGCM:
    return AESGCM(hashlib.sha256(shared_secret).digest())


@pytest.mark.parametrize("kind", KINDS)
def test_a_thief_opens_nothing_of_a_retired_epoch(
    tmp_path: Path, kind: Callable[[Path], Server]
) -> None:
    server = kind(tmp_path)
    recording = Recording(server)
    assert recording.marks
    assert recording.opens_with(server.current())
    assert {"response key", "suite key", "epoch key", "bytes"} == set(
        found_in(server, recording)
    )
    server.run_for(2 * HOUR - 1)
    assert server.ring.by_id(recording.key_id, server.clocks.now) is not None
    assert found_in(server, recording)
    server.run_for(HOUR)
    assert found_in(server, recording) == []
    assert Recording(server).opens_with(server.current())


@pytest.mark.parametrize("kind", [own, fleet])
def test_what_retires_goes_though_nothing_new_can_be_made(
    tmp_path: Path, kind: Callable[[Path], Server]
) -> None:
    server = kind(tmp_path)
    recording = Recording(server)
    server.run_for(HOUR)
    # The file is the operator's: it is left out of this.
    server.file = None
    server.ring.retire(server.clocks.go(HOUR))
    assert found_in(server, recording) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_thief_finds_what_a_careless_server_would_keep(
    tmp_path: Path, kind: Callable[[Path], Server]
) -> None:
    """The search itself is tested: each thing that must go is found if it stays."""
    server = kind(tmp_path)
    recording = Recording(server)
    kept = server.current()
    server.run_for(3 * HOUR)
    assert "epoch key" in found_in(server, recording)
    del kept
    assert found_in(server, recording) == []


def test_a_fleet_s_file_that_nobody_advances_opens_everything_since_its_base(
    tmp_path: Path,
) -> None:
    server = fleet(tmp_path)
    recording = Recording(server)
    assert server.file is not None
    stale = server.file.read_bytes()
    server.run_for(3 * HOUR)
    assert found_in(server, recording) == []
    server.file.write_bytes(stale)
    assert found_in(server, recording) == ["bytes"]
