"""Which HTTP library a client is made of, by the SDKs of the program."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    httpx2_binding,
    httpx_binding,
    protected_async_client,
    protected_client,
)
from tests.client.fake_server import Sealing

LIBRARIES = {"httpx": httpx, "httpx2": httpx2}
PINNED = {"identity": Sealing().fingerprint}


def sdk(name: str, version: str, library: Any) -> ModuleType:
    """Return an SDK that is built on ``library``."""

    class DefaultHttpxClient(library.Client):  # type: ignore[misc]
        pass

    class DefaultAsyncHttpxClient(library.AsyncClient):  # type: ignore[misc]
        pass

    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    made.DefaultHttpxClient = DefaultHttpxClient  # type: ignore[attr-defined]
    made.DefaultAsyncHttpxClient = DefaultAsyncHttpxClient  # type: ignore[attr-defined]
    return made


OPENAI_2 = sdk("openai", "2.1.0", httpx)
OPENAI_3 = sdk("openai", "3.1.0", httpx2)
ANTHROPIC_0 = sdk("anthropic", "0.9.0", httpx)
ANTHROPIC_2 = sdk("anthropic", "2.1.0", httpx2)


def use(monkeypatch: pytest.MonkeyPatch, *sdks: ModuleType) -> None:
    """Let these be the SDKs that the program has imported."""
    for name in ("openai", "anthropic"):
        monkeypatch.setitem(sys.modules, name, None)
    for made in sdks:
        monkeypatch.setitem(sys.modules, made.__name__, made)


@pytest.mark.parametrize(
    ("sdks", "library"),
    [
        ([OPENAI_2], "httpx"),
        ([OPENAI_3], "httpx2"),
        ([ANTHROPIC_0], "httpx"),
        ([ANTHROPIC_2], "httpx2"),
        ([OPENAI_2, ANTHROPIC_0], "httpx"),
        ([OPENAI_3, ANTHROPIC_2], "httpx2"),
        ([], "httpx2"),
    ],
)
def test_a_client_is_built_on_the_sdks_library(
    sdks: list[ModuleType], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, *sdks)
    check(library, sdks[0] if sdks else None)


@pytest.mark.parametrize(
    ("library", "sdks", "of"),
    [
        ("httpx", [OPENAI_2, ANTHROPIC_2], OPENAI_2),
        ("httpx2", [OPENAI_2, ANTHROPIC_2], ANTHROPIC_2),
        ("httpx", [OPENAI_3, ANTHROPIC_0], ANTHROPIC_0),
        ("httpx2", [OPENAI_3, ANTHROPIC_0], OPENAI_3),
        ("httpx", [OPENAI_3], None),
        ("httpx", [], None),
        ("httpx2", [], None),
    ],
)
def test_the_library_can_be_said(
    library: str,
    sdks: list[ModuleType],
    of: ModuleType | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, *sdks)
    check(library, of, chosen=library)


def check(library: str, of: ModuleType | None, *, chosen: str | None = None) -> None:
    """See that clients are of this library, and of this SDK's classes."""
    classes: Any = LIBRARIES[library]
    binding = {"httpx": httpx_binding, "httpx2": httpx2_binding}[library]
    with protected_client(**PINNED, library=chosen) as client:
        assert isinstance(client, of.DefaultHttpxClient if of else classes.Client)
        assert isinstance(client._transport, binding.ProtectedTransport)
    made = protected_async_client(**PINNED, library=chosen)
    assert isinstance(made, of.DefaultAsyncHttpxClient if of else classes.AsyncClient)
    assert isinstance(made._transport, binding.AsyncProtectedTransport)


@pytest.mark.parametrize("make", [protected_client, protected_async_client])
def test_sdks_for_different_libraries_ask_for_a_choice(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, OPENAI_2, ANTHROPIC_2)
    with pytest.raises(errors.UsageError) as caught:
        make(**PINNED)
    for named in ("library='httpx'", "library='httpx2'", "openai 2.1.0 is for httpx,"):
        assert named in str(caught.value)


def test_what_is_installed_but_not_imported_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, ANTHROPIC_0)
    monkeypatch.delitem(sys.modules, "openai")  # Could be imported, and is for httpx2.
    check("httpx", ANTHROPIC_0)
    assert "openai" not in sys.modules


def test_an_sdk_that_is_installed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "anthropic.py").write_text(
        "import httpx\n__version__ = '0.9.0'\n"
        "class DefaultHttpxClient(httpx.Client): pass\n"
        "class DefaultAsyncHttpxClient(httpx.AsyncClient): pass\n"
    )
    use(monkeypatch)
    monkeypatch.delitem(sys.modules, "anthropic")
    monkeypatch.syspath_prepend(tmp_path)
    with protected_client(**PINNED) as client:
        assert isinstance(client, sys.modules["anthropic"].DefaultHttpxClient)


def test_the_real_sdks_take_one_client() -> None:
    with protected_client(**PINNED) as client:
        openai.OpenAI(api_key="k", http_client=client)
        anthropic.Anthropic(api_key="k", http_client=client)


@pytest.mark.parametrize("wrong", ["requests", "", "HTTPX"])
def test_another_library_is_refused(wrong: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="library must be"):
        protected_client(library=wrong, **PINNED)


def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install httpx$"):
        protected_client(library="httpx", **PINNED)


def test_without_an_http_library_it_says_to_install_the_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("httpx", "httpx2", "openai", "anthropic"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="needs httpx2 or httpx") as caught:
        protected_client(**PINNED)
    assert str(caught.value).endswith(
        "pip install '.[client]' in the checkout of this package"
    )


def test_too_old_an_sdk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("openai")
    old.__version__ = "1.2.0"  # type: ignore[attr-defined]
    use(monkeypatch, old)
    with pytest.raises(ImportError, match=r"openai 1\.2\.0 is too old"):
        protected_client(**PINNED)
    use(monkeypatch, old, ANTHROPIC_2)
    check("httpx2", ANTHROPIC_2)
