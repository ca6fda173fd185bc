"""Settings: what is read, what is refused, and what is said about it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting import environment
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.identity import (
    process_identity,
    read_identity_file,
    write_identity_file,
)
from stainedglass_output_protection.hosting.settings import (
    load_settings,
    setting_warnings,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
)
from stainedglass_output_protection.vllm.report import report_settings

CLIENT_HEADER = "SG_CLIENT_PUBLIC_KEY_HEADER_NAME"
SERVER_HEADER = "SG_SERVER_PUBLIC_KEY_HEADER_NAME"
REFRESH = "SG_KEY_REFRESH_TIME_S"
IDENTITY = "SG_IDENTITY_KEY_FILE"
FLEET = "SG_FLEET_SECRET_FILE"
MAKE_ONE = "sg-vllm keys generate --identity FILE"


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    assert settings.client_public_key_header_name == "x-client-public-key"
    assert settings.server_public_key_header_name == "x-server-public-key"
    assert settings.key_refresh_time_s == 3600.0
    assert settings.identity_key_file is None


def test_every_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path
) -> None:
    monkeypatch.setenv(CLIENT_HEADER, "X-Mine")
    monkeypatch.setenv(SERVER_HEADER, "X-Yours")
    monkeypatch.setenv(REFRESH, "0.1")
    monkeypatch.setenv(IDENTITY, str(identity_file))
    settings = load_settings()
    assert settings.client_public_key_header_name == "x-mine"
    assert settings.server_public_key_header_name == "x-yours"
    assert settings.key_refresh_time_s == 0.1
    assert settings.identity_key_file == identity_file


@pytest.mark.parametrize("variable", [CLIENT_HEADER, SERVER_HEADER])
@pytest.mark.parametrize("name", ["", " ", "x y", "x:y", "ä", "x\r\ny", "x,y", 'x"'])
def test_header_name_that_is_no_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, name)
    with pytest.raises(ConfigurationError, match=variable):
        load_settings()


def test_equal_header_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLIENT_HEADER, "X-Server-Public-Key")
    with pytest.raises(ConfigurationError, match=f"{CLIENT_HEADER}.*{SERVER_HEADER}"):
        load_settings()


@pytest.mark.parametrize(
    "seconds", ["0", "-1", "nan", "inf", "-inf", "", "1h", "86401", "0.0001", "1e400"]
)
def test_refresh_time_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv(REFRESH, seconds)
    with pytest.raises(ConfigurationError, match=f"{REFRESH} must be a number"):
        load_settings()


@pytest.mark.parametrize("seconds", ["0.1", "0.5", "86400"])
def test_refresh_time_at_the_limits_is_accepted(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv(REFRESH, seconds)
    assert load_settings().key_refresh_time_s == float(seconds)


@pytest.mark.parametrize("overlap", ["0", "-1", "256", "1.5", "", "many"])
def test_overlap_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, overlap: str
) -> None:
    monkeypatch.setenv("SG_KEY_OVERLAP_EPOCHS", overlap)
    with pytest.raises(
        ConfigurationError, match=r"^SG_KEY_OVERLAP_EPOCHS must be a whole number"
    ):
        load_settings()


def test_an_epoch_s_life_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REFRESH, "43200")
    monkeypatch.setenv("SG_KEY_OVERLAP_EPOCHS", "3")
    assert load_settings().key_overlap_epochs == 3
    monkeypatch.setenv("SG_KEY_OVERLAP_EPOCHS", "4")
    with pytest.raises(
        ConfigurationError, match=f"{REFRESH} and SG_KEY_OVERLAP_EPOCHS"
    ):
        load_settings()


def test_a_fleet_s_file_says_the_period_and_needs_an_identity(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, fleet_file: Path
) -> None:
    monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(fleet_file))
    with pytest.raises(ConfigurationError, match=f"^{IDENTITY} must be set.*{FLEET}"):
        load_settings()
    monkeypatch.setenv(IDENTITY, str(identity_file))
    text = load_settings().describe()
    assert f"{REFRESH}=see (the fleet's file)" in text
    assert f"{FLEET}={fleet_file} (environment)" in text
    for line in fleet_file.read_text().splitlines():
        assert line not in text
    for name in (REFRESH, "SG_KEY_OVERLAP_EPOCHS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            with pytest.raises(ConfigurationError, match=f"^{name} must not.*{FLEET}"):
                load_settings()


def test_a_fleet_s_file_that_is_no_such_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, fleet_file: Path
) -> None:
    monkeypatch.setenv(IDENTITY, str(identity_file))
    monkeypatch.setenv(FLEET, str(identity_file))
    with pytest.raises(ConfigurationError, match=f"^{FLEET}: .*keys generate --fleet"):
        load_settings()
    monkeypatch.setenv(FLEET, str(fleet_file))
    fleet_file.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"^{FLEET}: .*chmod 600"):
        load_settings()
    monkeypatch.setenv(FLEET, "")
    with pytest.raises(ConfigurationError, match=f"^{FLEET} is set but empty"):
        load_settings()


def test_a_fleet_s_file_whose_base_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, fleet_file: Path
) -> None:
    fleet = FleetSecret(0, EpochTimes(1000), 0, bytes(32))
    fleet_file.write_bytes(fleet_text(fleet))
    monkeypatch.setenv(IDENTITY, str(identity_file))
    monkeypatch.setenv(FLEET, str(fleet_file))
    with pytest.raises(ConfigurationError, match=f"^{FLEET}: .*keys advance"):
        load_settings()


@pytest.mark.parametrize("name", ["", "module", "a:b:c", "a b:c", ":f", "m:", "../m:f"])
def test_a_name_that_can_be_no_function_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SG_EVIDENCE_PROVIDER", name)
    with pytest.raises(ConfigurationError, match=r"^SG_EVIDENCE_PROVIDER must name"):
        load_settings()


@pytest.mark.parametrize(
    "name", ["no_such_module:f", "json:no_such_function", "json:__name__"]
)
def test_a_provider_of_evidence_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SG_EVIDENCE_PROVIDER: {name}"):
        load_evidence_provider(name)


def test_a_provider_of_evidence_is_imported() -> None:
    assert load_evidence_provider(None) is None
    assert load_evidence_provider("hashlib:sha256") is hashlib.sha256


def test_names_that_our_parent_did_not_set_mean_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_SHARED_EPOCHS_FILE", "/a")
    monkeypatch.setenv("SG_SHARED_REPLAY_FILE", "/b")
    assert environment.epoch_table_path() is None
    assert environment.replay_store_path() is None
    environment.mark_for_children()
    assert environment.epoch_table_path() == Path("/a")
    assert environment.replay_store_path() == Path("/b")
    environment.hand_epoch_table_to_children(None)
    assert environment.epoch_table_path() is None
    assert setting_warnings() == []


def _x25519_pem() -> bytes:
    return X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("content", [b"", b"not a key", _x25519_pem()])
def test_identity_file_that_is_no_ed25519_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, content: bytes
) -> None:
    identity_file.write_bytes(content)
    monkeypatch.setenv(IDENTITY, str(identity_file))
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert IDENTITY in str(refused.value)
    assert MAKE_ONE in str(refused.value)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_identity_file_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv(IDENTITY, path)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert IDENTITY in str(refused.value)
    assert MAKE_ONE in str(refused.value)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o777])
def test_identity_file_that_others_can_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, mode: int
) -> None:
    identity_file.chmod(mode)
    monkeypatch.setenv(IDENTITY, str(identity_file))
    with pytest.raises(ConfigurationError, match=r"others may read.*chmod 600"):
        load_settings()


def test_key_pasted_in_place_of_its_path_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem = IdentityKey.generate().to_pem().decode()
    monkeypatch.setenv(IDENTITY, pem)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert pem.splitlines()[1] not in str(refused.value)


def test_settings_are_described_with_their_source_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path
) -> None:
    monkeypatch.setenv(REFRESH, "60")
    monkeypatch.setenv(IDENTITY, str(identity_file))
    text = load_settings().describe()
    assert f"{REFRESH}=60 (environment)" in text
    assert f"{CLIENT_HEADER}=x-client-public-key (default)" in text
    assert f"{IDENTITY}={identity_file} (environment)" in text
    assert identity_file.read_text().splitlines()[1] not in text


def test_unknown_name_gets_one_warning_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_KEY_REFRESH_TIME", "60")
    monkeypatch.setenv("SG_IDENTITY_FILE", "x")
    assert setting_warnings() == [
        f"SG_IDENTITY_FILE is not a setting and has no effect; the nearest is {IDENTITY}.",
        f"SG_KEY_REFRESH_TIME is not a setting and has no effect; the nearest is {REFRESH}.",
    ]


@pytest.mark.parametrize(
    "name",
    ["SG_VLLM_SERVICE_HOST", "SG_VLLM_PORT", "SG_SERVER_IDENTITY", REFRESH, "SGX"],
)
def test_known_and_foreign_names_get_no_warning(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert setting_warnings() == []


def test_written_identity_is_private_and_reads_back() -> None:
    identity = IdentityKey.generate()
    path = write_identity_file(identity)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_identity_file(path).fingerprint == identity.fingerprint


def test_process_without_a_file_keeps_one_identity() -> None:
    assert process_identity(None) is process_identity(None)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SG_CLEAR_ROUTES": "/v1/chat/completions"}, "must not name /v1/chat"),
        ({"SG_CLEAR_ROUTES": "/v1/responses/{response_id}"}, "must not name /v1/resp"),
        ({"SG_CLEAR_ROUTES": "/inference/v1/generate"}, "must not name /inference"),
        ({"SG_CLEAR_ROUTES": "/v1/responses/{id}"}, "must not name /v1/responses/{id}"),
        ({"SG_CLEAR_ROUTES": "/health,/v1/{x}"}, "must not name /v1/{x}"),
        ({"SG_PROTECTED_ROUTES": "/health"}, "probes could not read it"),
        ({"SG_PROTECTED_ROUTES": "/a", "SG_CLEAR_ROUTES": "/a"}, "both name /a"),
        ({"SG_CLEAR_ROUTES": "/a,b/c"}, "b/c has none"),
        ({"SG_ALLOW_LEAKS": "log_outputs"}, "It has no log_outputs"),
        ({"SG_KEYLESS_REQUESTS": "sometimes"}, "required, discard, allow"),
        ({"SG_PASSED_HEADERS": "a b"}, "SG_PASSED_HEADERS must be names of headers"),
        ({"SG_PASSED_HEADERS": "x-a,Content-Type"}, "not possible"),
        ({"SG_MAX_SEALED_REQUEST_BYTES": "1"}, "16384 to 1073741824"),
        ({"SG_REQUIRE_SEALED_REQUESTS": "perhaps"}, "must be true or false"),
        ({"SG_CLIENT_KEY_MEMBER_NAME": "model"}, "must begin with sg_ or x_"),
        ({"SG_CLIENT_PUBLIC_KEY_HEADER_NAME": "accept"}, "a name of your own"),
        ({"SG_IDENTITY_KEY_FILE": ""}, "is set but empty"),
    ],
)
def test_bad_values_name_the_variable_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert words in str(refused.value)
    assert any(name in str(refused.value) for name in variables)


def test_an_operator_s_routes_may_be_made_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_CLEAR_ROUTES", "/v1/load_lora_adapter,/plugin/{id}")
    assert load_settings().clear_routes == {"/v1/load_lora_adapter", "/plugin/{id}"}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SG_KEYLESS_REQUESTS", "allow", "answered in the clear"),
        ("SG_KEYLESS_REQUESTS", "discard", "nobody can read"),
        ("SG_CLEAR_ROUTES", "/plugin", "answers of /plugin leave in the clear"),
    ],
)
def test_what_weakens_protection_is_warned_of_at_start(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with caplog.at_level("WARNING"):
        report_settings(load_settings(), IdentityKey.generate())
    assert words in caplog.text
