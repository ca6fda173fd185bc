"""vLLM's published source: fetched once into the cache, a few modules of it unpacked.

The source archives (38 and 47 MB) are a tenth of the wheels. pip would build an
archive's metadata before it hands it over, which needs torch, so the archive is taken
from the index page that pip itself reads, and checked against the hash there.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import sys
import tarfile
import urllib.request
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from tests.made_once import CACHE, made_once

_UNPACKED = ("vllm/entrypoints/", "vllm/v1/utils.py", "vllm/plugins/", "vllm/logger.py")


def vllm_source(version: str) -> Path:
    """Return the folder ``vllm`` of a release's source."""
    target = CACHE / "vllm-source" / version

    def make() -> None:
        archive = target.with_name(f"vllm-{version}.tar.gz")
        _say(f"fetching the source of vLLM {version} from the package index ...")
        _fetch(archive.name, archive)
        _unpack(archive, f"vllm-{version}/", target)
        archive.unlink()

    return made_once(target, make) / "vllm"


def _fetch(name: str, destination: Path) -> None:
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
    page_url = f"{index.rstrip('/')}/vllm/"
    with urllib.request.urlopen(page_url, timeout=60) as page:
        links = re.findall(r'href="([^"]+)"', page.read().decode())
    (link,) = [
        html.unescape(item) for item in links if urldefrag(item)[0].endswith(f"/{name}")
    ]
    url, fragment = urldefrag(urljoin(page_url, link))
    digest = hashlib.sha256()
    partial = destination.with_suffix(".partial")
    with (
        urllib.request.urlopen(url, timeout=60) as response,
        partial.open("wb") as file,
    ):
        done = 0
        while data := response.read(1 << 20):
            file.write(data)
            digest.update(data)
            if done // 10_000_000 != (done := done + len(data)) // 10_000_000:
                _say(f"{name}: {done // 1_000_000} MB")
    assert fragment == f"sha256={digest.hexdigest()}", (
        "the archive is not the published"
    )
    partial.rename(destination)


def _unpack(archive: Path, prefix: str, target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.removeprefix(prefix)
            if member.isfile() and path.endswith(".py") and path.startswith(_UNPACKED):
                source = tar.extractfile(member)
                assert source is not None
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(source.read())


def _say(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)
