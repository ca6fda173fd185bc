"""A caller's request as the exchange sees it, whatever HTTP library made it."""

from __future__ import annotations

from typing import NamedTuple

Origin = tuple[str, str, "int | None"]


class Request(NamedTuple):
    """One request. ``raw_path`` is not percent-decoded, ``path`` is.

    ``has_digest`` says that a header holds a digest or signature of the body. ``repr``
    shows neither the body nor the authorization.
    """

    method: str
    origin: Origin
    raw_path: str
    path: str
    query: str
    content_type: str
    authorization: str
    body: bytes
    has_digest: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.raw_path!r}, <redacted>)"

    @property
    def base_url(self) -> str:
        """The server's base URL, as far as the request tells it."""
        scheme, host, port = self.origin
        host = f"[{host}]" if ":" in host else host
        shown_port = "" if port is None else f":{port}"
        return f"{scheme}://{host}{shown_port}{self.prefix}"

    @property
    def prefix(self) -> str:
        """What stands before ``/v1`` in the raw path; nothing if that has none."""
        prefix, has_v1, _ = f"{self.raw_path}/".partition("/v1/")
        return prefix if has_v1 else ""
