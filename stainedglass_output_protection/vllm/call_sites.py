"""Where vLLM builds and serves its API, found in its source by structure.

Only text is read here, nothing is imported, so that a published source archive can be
examined like an installed package. A call site is a module that calls ``build_app`` or
``serve_http`` by a bare name: whatever stands under that name in that module is what
runs, so that is where the name has to be replaced.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BUILD_APP = "build_app"
SERVE_HTTP = "serve_http"
_NAMES = (BUILD_APP, SERVE_HTTP)
# ``build_app`` forwards these; one that lacks the first is not the function we know.
_FIRST_PARAMETER = "args"


@dataclass(frozen=True)
class CallSite:
    """A module below vLLM's root and which of the two names it calls."""

    module: str
    builds: bool
    serves: bool


class SeamNotFoundError(LookupError):
    """vLLM's source does not have the structure that protection relies on."""


def find_call_sites(root: Path) -> list[CallSite]:
    """Return every call site below ``root``, the folder of the package ``vllm``.

    Raises:
        SeamNotFoundError: an app is built or served in a way that cannot be protected.
    """
    if not (root / "entrypoints").is_dir():
        raise SeamNotFoundError(f"{root} is not the source of a vLLM")
    sites = []
    definitions = 0
    for path, tree in _candidates(root / "entrypoints"):
        called = _called_by_bare_name(path, tree)
        if called:
            parts = path.relative_to(root.parent).with_suffix("").parts
            module = ".".join(part for part in parts if part != "__init__")
            sites.append(CallSite(module, BUILD_APP in called, SERVE_HTTP in called))
        definitions += sum(map(_defines_build_app, tree.body))
    if definitions == 0:
        raise SeamNotFoundError(
            f"No module of vLLM defines {BUILD_APP}({_FIRST_PARAMETER}, …)"
        )
    if not any(site.builds and site.serves for site in sites):
        raise SeamNotFoundError(f"No module of vLLM calls {BUILD_APP} and {SERVE_HTTP}")
    return sites


def _candidates(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if BUILD_APP in text or SERVE_HTTP in text:
            yield path, ast.parse(text)


def _called_by_bare_name(path: Path, tree: ast.Module) -> set[str]:
    """Return which of our names are called, all by bare name.

    Called through an object, or imported under another name, they would run unseen.
    """
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        hidden = (isinstance(node, ast.Attribute) and node.attr in _NAMES) or (
            isinstance(node, ast.alias)
            and node.name in _NAMES
            and node.asname not in (None, node.name)
        )
        if hidden:
            raise SeamNotFoundError(
                f"{path.name} reaches {BUILD_APP} or {SERVE_HTTP} in a new way"
            )
    return called & set(_NAMES)


def _defines_build_app(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef) or node.name != BUILD_APP:
        return False
    parameters = [*node.args.posonlyargs, *node.args.args]
    return bool(parameters) and parameters[0].arg == _FIRST_PARAMETER
