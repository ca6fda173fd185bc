"""The plugins: what is registered, and when they do nothing."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import tomllib

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.vllm import _seams, environment, plugin
from stainedglass_output_protection.vllm.call_sites import CallSite
from stainedglass_output_protection.vllm.protection import is_protected
from tests.vllm_layer.app import build_app

ROOT = Path(__file__).resolve().parents[2]
SITE = "vllm.entrypoints.made_up"


@pytest.fixture
def call_site(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stand in for a module of vLLM's that is imported already."""

    async def serve_http(app: object) -> str:
        return "served"

    module = ModuleType(SITE)
    module.build_app = build_app  # type: ignore[attr-defined]
    module.serve_http = serve_http  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, SITE, module)
    monkeypatch.setattr(_seams, "_call_sites", lambda: [CallSite(SITE, True, True)])
    return module


def test_entry_points_name_what_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "stainedglass_output_protection.vllm.plugin:"
    for group, name in {
        "vllm.general_plugins": "register",
        "vllm.endpoint_plugins": "ProtectionEndpointPlugin",
    }.items():
        assert project["entry-points"][group] == {
            environment.PLUGIN_NAME: prefix + name
        }
        assert hasattr(plugin, name)


def test_general_plugin_does_nothing_unless_sg_vllm_started_the_process(
    call_site: ModuleType,
) -> None:
    plugin.register()
    assert call_site.build_app is build_app


async def test_general_plugin_protects_what_is_imported(call_site: ModuleType) -> None:
    environment.mark_for_children()
    plugin.register()
    patched = call_site.build_app
    plugin.register()
    assert call_site.build_app is patched
    app = call_site.build_app(Namespace())
    assert is_protected(app)
    assert await call_site.serve_http(app) == "served"
    with pytest.raises(ConfigurationError, match="not protected"):
        await call_site.serve_http(build_app(Namespace()))


def test_general_plugin_ignores_processes_without_an_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def must_not_look() -> list[CallSite]:
        raise AssertionError("read vLLM's source in a worker")

    monkeypatch.setattr(_seams, "_call_sites", must_not_look)
    environment.mark_for_children()
    plugin.register()


def test_call_site_without_its_name_is_refused(call_site: ModuleType) -> None:
    del call_site.serve_http
    with pytest.raises(ConfigurationError, match="has no serve_http"):
        _seams.patch_all()


async def test_endpoint_plugin_protects_and_reports_without_sg_vllm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = build_app(Namespace())
    endpoint_plugin = plugin.ProtectionEndpointPlugin()
    with caplog.at_level("INFO"):
        endpoint_plugin.attach_router(app)
    await endpoint_plugin.init_state(None, app.state, Namespace())
    assert is_protected(app)
    assert endpoint_plugin.name == environment.PLUGIN_NAME
    assert endpoint_plugin.required_tasks is None
    assert "SG_SERVER_IDENTITY=SHA256:" in caplog.text


def test_endpoint_plugin_refuses_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SG_KEY_REFRESH_TIME_S", "never")
    with pytest.raises(ConfigurationError, match="SG_KEY_REFRESH_TIME_S"):
        plugin.ProtectionEndpointPlugin().attach_router(build_app(Namespace()))
