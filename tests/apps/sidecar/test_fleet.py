"""Several sidecars behind one address, as replicas of a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.sidecar.application import make_sidecar
from stainedglass_output_protection.apps.sidecar.upstream import connect
from stainedglass_output_protection.hosting import start_barrier
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import FleetSecret, fleet_text
from tests.apps.sidecar.engines import Engine, answering, running
from tests.apps.sidecar.sidecars import sdk_of
from tests.asgi.applications import ASK, PIECES, Identity
from tests.asgi.serving import served
from tests.asgi.test_workers import TakingTurns

_COUNT = 6


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Replicas wait a minute before they are ready.
    monkeypatch.setattr(start_barrier, "_MARK_MS", 0)


def a_fleet_file(path: Path, *, age_ms: int = 0) -> Path:
    """Write the secret of another fleet to ``path``."""
    secret = FleetSecret.generate(EpochTimes(90_000, 2), unix_ms() - age_ms)
    path.touch(mode=0o600)
    path.write_bytes(fleet_text(secret))
    return path


def replicas(
    engine: Engine, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> TakingTurns:
    """Return a sidecar with each fleet file, that take turns."""
    made: list[Any] = []
    for file in files:
        monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(file))
        upstream = connect(engine.address, ca_file=None, allow_clear=False)
        made.append(make_sidecar(upstream, limits=Limits()))
    return TakingTurns(made)


def asked(sdk: openai.OpenAI) -> list[str | None]:
    """Ask for a stream over a connection of its own, and return its pieces."""
    stream = sdk.chat.completions.create(
        **ASK, stream=True, extra_headers={"connection": "close"}
    )
    return [it.choices[0].delta.content for it in stream]


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_with_the_same_secret_any_of_them_answers(
    identity: Identity, tmp_path: Path, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_fleet_file(tmp_path / "fleet")
    with running(Engine(answering())) as engine:
        turns = replicas(engine, [file, file], monkeypatch)
        with (
            served(turns) as url,
            sdk_of(url, identity, profile=profile) as sdk,
        ):
            told = [asked(sdk) for _ in range(_COUNT)]

    assert told == [PIECES] * _COUNT


def test_a_replica_with_another_secret_is_named_and_the_others_go_on(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = a_fleet_file(tmp_path / "ours")
    # Its key is the older one, to which no client goes back.
    other = a_fleet_file(tmp_path / "other", age_ms=30_000)
    with running(Engine(answering())) as engine:
        turns = replicas(engine, [ours, other], monkeypatch)
        with served(turns) as url, sdk_of(url, identity) as sdk:
            turns.all_to(0)
            assert asked(sdk) == PIECES
            turns.all_to(1)
            with pytest.raises(openai.APIStatusError) as refused:
                asked(sdk)
            turns.all_to(0)
            assert asked(sdk) == PIECES

    assert refused.value.status_code == 422
    assert "SG_FLEET_SECRET_FILE" in str(refused.value)
    # What was refused has reached no engine: nothing ran twice.
    assert len([it for it in engine.asked if it.method == "POST"]) == 2


def test_answers_of_a_replica_with_another_secret_open_all_the_same(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [a_fleet_file(tmp_path / name) for name in ("ours", "other")]
    with running(Engine(answering())) as engine:
        turns = replicas(engine, files, monkeypatch)
        with (
            served(turns) as url,
            sdk_of(url, identity, profile="output") as sdk,
        ):
            told = [asked(sdk) for _ in range(_COUNT)]

    assert told == [PIECES] * _COUNT
