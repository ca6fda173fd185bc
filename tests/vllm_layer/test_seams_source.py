"""The seams in the published source of releases that cannot run here.

The structural finder is the very one that decides at run time. Besides, what we use of
vLLM by name has to stand where we look for it. The network is used once, for the cache.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from stainedglass_output_protection.vllm import _seams
from stainedglass_output_protection.vllm.call_sites import (
    CallSite,
    SeamNotFoundError,
    find_call_sites,
)
from tests.vllm_layer.published import vllm_source

LAUNCHERS = [
    CallSite("vllm.entrypoints.launchers.api_server.entry", True, True),
    CallSite("vllm.entrypoints.launchers.render.entry", True, True),
]
EXPECTED = {
    "0.26.0": [CallSite("vllm.entrypoints.openai.api_server", True, True)],
    "0.33.0": LAUNCHERS,
}


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def release(request: pytest.FixtureRequest) -> tuple[str, Path]:
    return request.param, vllm_source(request.param)


def names_in(path: Path) -> set[str]:
    """Return every name that a module binds at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {item.asname or item.name for item in node.names}
    return found


def function_in(path: Path, name: str) -> ast.FunctionDef:
    (function,) = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return function


def test_call_sites_are_found(release: tuple[str, Path]) -> None:
    version, root = release
    assert find_call_sites(root) == EXPECTED[version]


def test_call_sites_have_the_names_that_are_replaced(release: tuple[str, Path]) -> None:
    _, root = release
    for site in find_call_sites(root):
        path = root.parent / (site.module.replace(".", "/") + ".py")
        assert {"build_app", "serve_http"} <= names_in(path)


def test_build_app_has_the_parameters_that_are_forwarded(
    release: tuple[str, Path],
) -> None:
    _, root = release
    (definition,) = [
        path
        for path in (root / "entrypoints").rglob("*.py")
        if "def build_app(" in path.read_text()
    ]
    function = function_in(definition, "build_app")
    names = [argument.arg for argument in function.args.args]
    assert names == ["args", "supported_tasks", "model_config"]
    # ``protect_app`` reads the number of API servers from there.
    assert "app.state.args = args" in ast.unparse(function)


def test_serve_command_has_what_is_guarded(release: tuple[str, Path]) -> None:
    _, root = release
    command = names_in(root / "entrypoints" / "cli" / "serve.py")
    assert {
        "ServeSubcommand",
        "APIServerProcessManager",
        "RustFrontendProcessManager",
        "run_dp_supervisor",
    } <= command
    (supervisor,) = (root / "entrypoints").rglob("dp_supervisor.py")
    assert _seams._DP_SERVER in names_in(supervisor)
    assert f"target={_seams._DP_SERVER}" in supervisor.read_text()


def test_spawned_servers_can_start_in_our_function(release: tuple[str, Path]) -> None:
    _, root = release
    utils = root / "v1" / "utils.py"
    assert "run_api_server_worker_proc" in names_in(utils)
    text = utils.read_text()
    assert "target=target_server_fn or run_api_server_worker_proc" in text


def test_environment_setup_is_where_it_is_looked_for(release: tuple[str, Path]) -> None:
    _, root = release
    files = [
        root.parent / (name.replace(".", "/") + ".py") for name in _seams._ENV_SETUP
    ]
    assert any("cli_env_setup" in names_in(path) for path in files if path.exists())


def package(tmp_path: Path, **modules: str) -> Path:
    folder = tmp_path / "vllm" / "entrypoints"
    folder.mkdir(parents=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return tmp_path / "vllm"


DEFINITION = "def build_app(args): ...\n"
CALLS = "async def f():\n    app = build_app(1)\n    await serve_http(app)\n"


def test_a_layout_never_seen_is_found_by_structure(tmp_path: Path) -> None:
    root = package(tmp_path, new=DEFINITION, __init__="from .new import *\n" + CALLS)
    assert find_call_sites(root) == [CallSite("vllm.entrypoints", True, True)]


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({}, "No module of vLLM defines"),
        ({"a": CALLS}, "No module of vLLM defines"),
        ({"a": DEFINITION}, "No module of vLLM calls"),
        ({"a": "def build_app(config): ...\n" + CALLS}, "No module of vLLM defines"),
        ({"a": DEFINITION + "build_app(1)"}, "No module of vLLM calls"),
        ({"a": DEFINITION + CALLS, "b": "import a\na.build_app(1)"}, "in a new way"),
        (
            {"a": DEFINITION + CALLS, "b": "from a import serve_http as run\nrun(1)"},
            "in a new way",
        ),
    ],
)
def test_another_structure_is_refused(
    tmp_path: Path, modules: dict[str, str], reason: str
) -> None:
    with pytest.raises(SeamNotFoundError, match=reason):
        find_call_sites(package(tmp_path, **modules))


def test_what_is_no_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeamNotFoundError, match="not the source of a vLLM"):
        find_call_sites(tmp_path)
