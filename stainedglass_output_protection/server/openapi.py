"""What clients have to know, in an application's OpenAPI document and so on ``/docs``.

Each protected operation shows the header with the client's key, the header with the
server's, and our refusals; the "Authorize" button takes the client's key.
"""

from __future__ import annotations

import copy
import functools
import json
from typing import Any, Final

from stainedglass_output_protection.protocol.constants import SEALED_REQUEST_HEADER
from stainedglass_output_protection.protocol.routes import RouteClass
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.refusal_list import REFUSALS

SCHEME: Final = "OutputProtectionClientKey"
_METHODS: Final = frozenset(
    ("get", "put", "post", "delete", "options", "head", "patch", "trace")
)
_MARK: Final = "shows_output_protection"
# What is answered where nothing is protected.
_ELSEWHERE: Final = frozenset({"route_not_protected", "method_not_allowed"})


def describe_in_openapi(app: Any, options: Options) -> None:
    """Make ``app.openapi()`` show the protection. Doing it again changes nothing.

    ``app`` is a FastAPI application; one without ``openapi`` is left alone. The document
    returned is the same one until the application's own is another, as with FastAPI.
    """
    make = getattr(app, "openapi", None)
    if make is None or hasattr(make, _MARK):
        return

    known = ""
    shown: dict[str, Any] = {}

    @functools.wraps(make)
    def openapi() -> dict[str, Any]:
        nonlocal known, shown
        document = make()
        # By its content, not its identity: applications change it in its place, too.
        text = json.dumps(document, default=repr)
        if text != known:
            known, shown = text, described(document, options)
        return shown

    setattr(openapi, _MARK, True)
    app.openapi = openapi


def described(document: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return a copy of an OpenAPI document that shows what ``options`` protect."""
    shown = copy.deepcopy(document)
    schemes = shown.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME] = {
        "type": "apiKey",
        "in": "header",
        "name": options.client_key_header,
        "description": (
            "The client's X25519 public key, base64. Answers are sealed to it, so only "
            "who has the private key can read them. Sealed requests carry a key "
            f"themselves, in their body or in {SEALED_REQUEST_HEADER}."
        ),
    }
    for path, operations in shown.get("paths", {}).items():
        if options.routes.row(path).route_class is RouteClass.PROTECTED:
            for method, operation in operations.items():
                if method in _METHODS:
                    _describe(operation, options)
    return shown


def _describe(operation: dict[str, Any], options: Options) -> None:
    # What the application asks for itself is needed too.
    asked = operation.get("security") or [{}]
    operation["security"] = [{**item, SCHEME: []} for item in asked]
    responses = operation.setdefault("responses", {})
    for status, response in responses.items():
        if status.startswith("2"):
            response.setdefault("headers", {})[options.server_key_header] = {
                "description": "The server's public key, for information.",
                "schema": {"type": "string"},
            }
    for status, words in _refusals().items():
        response = responses.setdefault(status, {"description": ""})
        known = response.get("description", "")
        response["description"] = f"{known}\n\n{words}" if known else words


@functools.cache
def _refusals() -> dict[str, str]:
    """Return what our refusals mean, by status, in Markdown."""
    lines: dict[str, list[str]] = {}
    for code, (status, words) in REFUSALS.items():
        if code not in _ELSEWHERE:
            lines.setdefault(str(status), []).append(f"- `{code}`: {words}")
    return {status: "\n".join(found) for status, found in lines.items()}
