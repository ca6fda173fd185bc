"""Makes the HTTP client that the installed SDK wants, with protection around it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stainedglass_output_protection.client.deferral import deferring
from stainedglass_output_protection.client.evidence import EvidenceVerifier
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.sdks import (
    client_class_for,
    library_of,
    plain_client_class,
)
from stainedglass_output_protection.errors import UsageError


def protected_client(
    *,
    identity: str | Iterable[str] | None = None,
    profile: str | None = None,
    opaque: bool = False,
    trust_on_first_use: bool | None = None,
    suite: str | None = None,
    owner_file: str | Path | None = None,
    expose: Iterable[str] = (),
    seal_authorization: bool | None = None,
    verify_evidence: EvidenceVerifier | None = None,
    library: str | None = None,
    **client_kwargs: Any,
) -> Any:
    """Return a sync HTTP client that seals requests and opens protected answers.

    Give it to the SDK: ``OpenAI(base_url=..., http_client=protected_client())``, and
    use it for that one server only. It is an ``httpx2.Client`` or ``httpx.Client``,
    whichever the program's SDK (``openai``, ``anthropic``) is built on, with the SDK's
    timeouts and limits, and takes the arguments of that.

    ``identity`` is the server's fingerprint, or a set of them; the default is the
    environment's ``SG_SERVER_IDENTITY``. ``profile`` is ``sealed`` (the default) or
    ``output``. ``opaque`` asks for the smallest answers, in which gateways can read
    nothing. ``trust_on_first_use`` accepts the identity that answers first, and
    remembers it. ``suite`` is ``mlkem768-x25519`` (the default) or ``x25519``.
    ``owner_file`` holds the secret that cached prompts and stored responses belong to;
    it is made if it is missing, and without one each client has its own. ``expose``
    names top-level members of the body that routers may read. ``seal_authorization``
    sends the API key inside. ``verify_evidence`` is given a server's attestation
    evidence and the report data that it must name. ``library`` is ``httpx2`` or
    ``httpx``, to be given where two SDKs of a program want different ones.

    Raises:
        ImportError: no HTTP library is installed, or the SDK is too old.
        ConfigurationError: a choice is wrong, or profile ``sealed`` has no identity.
        UsageError: an argument is not possible with protection, or ``library`` is
            missing.
    """
    protection = Protection.load(
        identity,
        profile=profile,
        asks_opaque=opaque,
        trust_on_first_use=trust_on_first_use,
        suite=suite,
        owner_file=owner_file,
        expose=expose,
        seal_authorization=seal_authorization,
        verify_evidence=verify_evidence,
    )
    return _make_for_sdk(library, protection, client_kwargs, is_async=False)


def protected_async_client(
    *,
    identity: str | Iterable[str] | None = None,
    profile: str | None = None,
    opaque: bool = False,
    trust_on_first_use: bool | None = None,
    suite: str | None = None,
    owner_file: str | Path | None = None,
    expose: Iterable[str] = (),
    seal_authorization: bool | None = None,
    verify_evidence: EvidenceVerifier | None = None,
    library: str | None = None,
    **client_kwargs: Any,
) -> Any:
    """Return an async HTTP client, for ``AsyncOpenAI``; else ``protected_client``."""
    protection = Protection.load(
        identity,
        profile=profile,
        asks_opaque=opaque,
        trust_on_first_use=trust_on_first_use,
        suite=suite,
        owner_file=owner_file,
        expose=expose,
        seal_authorization=seal_authorization,
        verify_evidence=verify_evidence,
    )
    return _make_for_sdk(library, protection, client_kwargs, is_async=True)


Observe = Callable[[Any, Any], Any]


def plain_protected_client(
    protection: Protection, *, observe: Observe | None = None, **client_kwargs: Any
) -> Any:
    """Return a sync client of the HTTP library itself, whatever SDK is installed.

    ``observe`` is given the library and each transport that speaks HTTP, and returns
    the transport to use in its place: it sees what the network sees.

    Raises:
        ImportError: no HTTP library is installed.
    """
    client_class = plain_client_class(is_async=False)
    library = importlib.import_module(library_of(client_class))

    def observed(transport: Any) -> Any:
        return transport if observe is None else observe(library, transport)

    return _make(client_class, protection, client_kwargs, observed, is_async=False)


def _make_for_sdk(
    library: str | None,
    protection: Protection,
    client_kwargs: dict[str, Any],
    *,
    is_async: bool,
) -> Any:
    client_class = client_class_for(library, is_async=is_async)
    return _make(
        deferring(client_class, is_async=is_async),
        protection,
        client_kwargs,
        is_async=is_async,
    )


def _make(
    client_class: type[Any],
    protection: Protection,
    client_kwargs: dict[str, Any],
    observed: Callable[[Any], Any] = lambda transport: transport,
    *,
    is_async: bool,
) -> Any:
    if client_kwargs.setdefault("follow_redirects", False):
        raise UsageError(
            "A protected client never follows redirects: leave follow_redirects out."
        )
    name = f"{__package__}.{library_of(client_class)}_binding"
    binding = importlib.import_module(name)
    transport_class = (
        binding.AsyncProtectedTransport if is_async else binding.ProtectedTransport
    )
    client = client_class(**client_kwargs)

    def protect(transport: Any) -> Any:
        return transport_class(observed(transport), protection=protection)

    # The library has built these from its arguments and from the environment's proxy
    # variables, and has no public way to wrap them. A release that names them
    # otherwise must not leave a client without protection: AttributeError.
    client._transport = protect(client._transport)
    client._mounts = {
        pattern: None if transport is None else protect(transport)
        for pattern, transport in client._mounts.items()
    }
    return client
