"""Makes the HTTP client that the installed SDK wants, with protection around it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from stainedglass_output_protection.client.evidence import EvidenceVerifier
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.errors import UsageError

_LIBRARIES = ("httpx2", "httpx")
# Older SDKs retry and wrap every error that is raised while sending.
_FIRST_SDK_THAT_SHOWS_ERRORS = 3


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
    **client_kwargs: Any,
) -> Any:
    """Return a sync HTTP client that seals requests and opens protected answers.

    Give it to the SDK: ``OpenAI(base_url=..., http_client=protected_client())``, and
    use it for that one server only. It is an ``httpx2.Client`` or ``httpx.Client``,
    whichever the installed ``openai`` is built on, with the SDK's timeouts and limits,
    and takes the arguments of that.

    ``identity`` is the server's fingerprint, or a set of them; the default is the
    environment's ``SG_SERVER_IDENTITY``. ``profile`` is ``sealed`` (the default) or
    ``output``. ``opaque`` asks for the smallest answers, in which gateways can read
    nothing. ``trust_on_first_use`` accepts the identity that answers first, and
    remembers it. ``suite`` is ``mlkem768-x25519`` (the default) or ``x25519``.
    ``owner_file`` holds the secret that cached prompts and stored responses belong to;
    it is made if it is missing, and without one each client has its own. ``expose``
    names top-level members of the body that routers may read. ``seal_authorization`` sends the API key inside. ``verify_evidence`` is
    given a server's attestation evidence and the report data that it must name.

    Raises:
        ImportError: no HTTP library is installed.
        ConfigurationError: a choice is wrong, or profile ``sealed`` has no identity.
        UsageError: an argument is not possible with protection.
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
    return _make(_find_sdk(is_async=False), protection, client_kwargs)


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
    return _make(_find_sdk(is_async=True), protection, client_kwargs)


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
    library = _library()
    sdk = _sdk_of(library.Client, None, is_async=False)

    def observed(transport: Any) -> Any:
        return transport if observe is None else observe(library, transport)

    return _make(sdk, protection, client_kwargs, observed)


class _Sdk(NamedTuple):
    client_class: type[Any]
    transport_class: type[Any]
    defer_errors: bool


def _make(
    sdk: _Sdk,
    protection: Protection,
    client_kwargs: dict[str, Any],
    observed: Callable[[Any], Any] = lambda transport: transport,
) -> Any:
    if client_kwargs.setdefault("follow_redirects", False):
        raise UsageError(
            "A protected client never follows redirects: leave follow_redirects out."
        )
    client = sdk.client_class(**client_kwargs)

    def protect(transport: Any) -> Any:
        return sdk.transport_class(
            observed(transport), protection=protection, defer_errors=sdk.defer_errors
        )

    # The library has built these from its arguments and from the environment's proxy
    # variables, and has no public way to wrap them. A release that names them
    # otherwise must not leave a client without protection: AttributeError.
    client._transport = protect(client._transport)
    client._mounts = {
        pattern: None if transport is None else protect(transport)
        for pattern, transport in client._mounts.items()
    }
    return client


def _find_sdk(*, is_async: bool) -> _Sdk:
    client_class, version = _client_class(is_async=is_async)
    return _sdk_of(client_class, version, is_async=is_async)


def _sdk_of(client_class: type[Any], version: int | None, *, is_async: bool) -> _Sdk:
    library = next(
        root
        for base in client_class.__mro__
        if (root := base.__module__.partition(".")[0]) in _LIBRARIES
    )
    binding = importlib.import_module(f"{__package__}.{library}_binding")
    return _Sdk(
        client_class=client_class,
        transport_class=(
            binding.AsyncProtectedTransport if is_async else binding.ProtectedTransport
        ),
        defer_errors=version is not None and version < _FIRST_SDK_THAT_SHOWS_ERRORS,
    )


def _client_class(*, is_async: bool) -> tuple[type[Any], int | None]:
    """Return the client class to make, and the major version of ``openai`` if any."""
    try:
        openai = importlib.import_module("openai")
    except ImportError:
        name = "AsyncClient" if is_async else "Client"
        return getattr(_library(), name), None
    name = "DefaultAsyncHttpxClient" if is_async else "DefaultHttpxClient"
    if not hasattr(openai, name):
        raise ImportError(f"openai {openai.__version__} is too old: it has no {name}.")
    return getattr(openai, name), int(openai.__version__.partition(".")[0])


def _library() -> Any:
    for name in _LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(
        "The client needs httpx2 or httpx: "
        "pip install 'stainedglass-output-protection[client]'"
    )
