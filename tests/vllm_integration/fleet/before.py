"""What went on in a fleet before one of its replicas started.

The earlier replica is the package's own key ring in this process: it has read the same
file. Its clients have its key document, and one of them has asked: the relay, as a
router does without a worker, keeps that request until the new replica is there.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.hosting.fleet import read_fleet_file
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.fleet_secret import FleetSecret, fleet_text
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.attacks.relay import DOCUMENT, Relay, Reply, Request
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.keys import sg_vllm_keys
from tests.vllm_integration.servers import MODEL, wait_for

# A key lives for twenty minutes: no start takes so long.
TIMES = EpochTimes(period_ms=5000, overlap=255)
# The fleet is half a day old.
EPOCHS_OVER = 10_000
TIMEOUT_S = 900.0
CANARY = BY_NAME["canary"]


@dataclass
class Before:
    """A fleet's file, a replica that has read it, and its client behind a relay.

    ``waiting`` is the answer to what the client asks before the new replica starts.
    """

    fleet_path: Path
    peer: KeyRing
    document: KeyDocument
    relay: Relay
    client: Any
    waiting: Future[Any]
    advanced: str
    is_up: threading.Event = field(default_factory=threading.Event)

    def let_through(self, port: int) -> None:
        """Have the relay pass on what it has kept, and everything from now on."""
        self.relay.port = port
        self.is_up.set()

    def ask(self) -> Any:
        """Ask for the canary's sentence."""
        return _ask(self.client)


def go_on_before(
    folder: Path, identity: Identity, relay: Relay, pool: ThreadPoolExecutor
) -> Before:
    """Make a fleet, have somebody ask it, and only then move its file on."""
    fleet_path = folder / "old-fleet.key"
    long_ago = unix_ms() - EPOCHS_OVER * TIMES.period_ms
    fleet_path.touch(mode=0o600)
    fleet_path.write_bytes(fleet_text(FleetSecret.generate(TIMES, long_ago)))
    fleet = read_fleet_file(fleet_path).fleet
    key = IdentityKey.from_pem(identity.path.read_bytes())
    peer = KeyRing(key, FleetEpochs(fleet, unix_ms()))
    peer.tick(unix_ms())
    text = peer.current(unix_ms()).document_text
    is_up = threading.Event()

    def keep(relay: Relay, request: Request) -> Reply:
        if request.target == DOCUMENT:
            body = f'{{"document":"{text}"}}'.encode()
            return Reply(200, (("content-type", "application/json"),), body)
        if not is_up.wait(TIMEOUT_S):
            return Reply(503, (), b"")
        return relay.forward(request)

    relay.move = keep
    client = protected_client(
        identity=identity.fingerprint, base_url=relay.url, timeout=TIMEOUT_S
    )
    waiting = pool.submit(_ask, client)
    wait_for(lambda: relay.sealed, "the request", limit_s=60)
    return Before(
        fleet_path=fleet_path,
        peer=peer,
        document=KeyDocument.from_text(text),
        relay=relay,
        client=client,
        waiting=waiting,
        advanced=sg_vllm_keys("advance", fleet_path),
        is_up=is_up,
    )


def _ask(client: Any) -> Any:
    path, body = CANARY.request(MODEL)
    return client.post(path, json=body)
