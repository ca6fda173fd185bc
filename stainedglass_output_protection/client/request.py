"""A caller's request as the exchange sees it, whatever HTTP library made it."""

from __future__ import annotations

from typing import NamedTuple

from stainedglass_output_protection.protocol.routes import TABLE

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
        """What stands before a path of the table, else before ``/v1``; or nothing."""
        start = 0
        while start >= 0 and not TABLE.serves(self.raw_path[start:]):
            start = self.raw_path.find("/", start + 1)
        if start < 0:
            start = f"{self.raw_path}/".find("/v1/")
        return self.raw_path[: max(start, 0)]
