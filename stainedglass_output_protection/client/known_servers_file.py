"""The text of the file of known servers: parsed strictly, edited line by line."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from stainedglass_output_protection.client.private_files import read_file, replace_file
from stainedglass_output_protection.errors import ConfigurationError, UsageError
from stainedglass_output_protection.protocol.identity import parse_pins

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[!-~]+")
_SAFE = "%:@!$&'()*+,;=~"
_EPOCH = re.compile(r"[0-9]{1,20}")
_HEADING = (
    "# The servers that protected clients of this user have met. If the operator has",
    "# replaced an identity, and says so by another way, put the new one in its line.",
)

# A base URL in its normal form, and the fingerprint of an identity that answers there.
Name = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """What one line says; lines count from 1, epochs are Unix milliseconds."""

    line: int
    epoch: int


@dataclass
class KnownServersFile:
    """The lines of one file, and what they say. Not to be shared by threads."""

    lines: list[str] = field(default_factory=lambda: list(_HEADING))
    entries: dict[Name, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> KnownServersFile:
        """Return what the file holds; one that is not there holds nothing.

        Raises:
            OSError: it may be there, and cannot be read.
            ConfigurationError: a line is malformed; nothing of it is used.
        """
        try:
            data, _ = read_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        text = data.decode("utf-8-sig", "surrogateescape").rstrip()
        if not text:
            return cls()
        known = cls([line.rstrip("\r") for line in text.split("\n")])
        for number, line in enumerate(known.lines, 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                name, epoch = _parse(words)
            except (ValueError, UsageError, ConfigurationError):
                raise _malformed(path, number, "is malformed") from None
            if name in known.entries:
                first = known.entries[name].line
                raise _malformed(path, number, f"says again what line {first} says")
            known.entries[name] = Entry(number, epoch)
        return known

    def newest(self, name: Name) -> int:
        """Return the newest epoch that ``name`` had, or -1 if it is not there."""
        return self.entries[name].epoch if name in self.entries else -1

    def lines_of(self, base_url: str) -> dict[str, int]:
        """Return each fingerprint that is known there, and its line's number."""
        return {
            fingerprint: entry.line
            for (url, fingerprint), entry in self.entries.items()
            if url == base_url
        }

    def put(self, name: Name, epoch: int) -> None:
        """Write ``epoch`` into the line of ``name``, or add a line."""
        entry = self.entries.get(name)
        text = f"{name[0]} {name[1]} {epoch}"
        if entry is None:
            self.lines.append(text)
            line = len(self.lines)
        else:
            line = entry.line
            _, mark, comment = self.lines[line - 1].partition("#")
            self.lines[line - 1] = f"{text}  #{comment}" if mark else text
        self.entries[name] = Entry(line, epoch)

    def write(self, path: Path) -> None:
        """Replace the file by these lines; the caller holds its lock since reading.

        Raises:
            OSError: it cannot be written.
        """
        text = "\n".join(self.lines) + "\n"
        replace_file(path, text.encode("utf-8", "surrogateescape"))


def normalise_base_url(url: str) -> str:
    """Return scheme, host, port and path prefix, in the one form that the file has.

    The prefix ends before the first segment ``v1``; what is behind it, user, password,
    query and fragment are dropped, and so is the scheme's own port.

    Raises:
        UsageError: it is no HTTP URL. It is not shown: it may hold a password.
    """
    try:
        return _normalise(url)
    except ValueError:
        pass
    raise UsageError("The base URL is not a whole one of http:// or https://.")


def _normalise(url: str) -> str:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if ":" in host or "[" in parts.netloc:
        host = f"[{ipaddress.ip_address(host)}]"
    elif not host.isascii():
        host = host.encode("idna").decode("ascii")
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host):
        raise ValueError
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host += f":{port}"
    segments = [segment for segment in parts.path.split("/") if segment]
    if "v1" in segments:
        segments = segments[: segments.index("v1")]
    path = "".join(f"/{quote(segment, safe=_SAFE)}" for segment in segments)
    return f"{parts.scheme}://{host}{path}"


def _parse(words: list[str]) -> tuple[Name, int]:
    base_url, fingerprint, epoch = words
    if not _EPOCH.fullmatch(epoch):
        raise ValueError
    parse_pins([fingerprint])
    return (normalise_base_url(base_url), fingerprint), int(epoch)


def _malformed(path: Path, number: int, fault: str) -> ConfigurationError:
    return ConfigurationError(
        f"The file of known servers, {path}: line {number} {fault}. A line is a base "
        "URL, a fingerprint ('SHA256:…') and a number of milliseconds, or begins with "
        "'#'. Mend the line; without it the server would be trusted anew."
    )
