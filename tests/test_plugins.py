"""The plugin door: found by metadata, loaded one by one, a broken one reported and nobody else stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storycore.errors import AdapterNotFound, PluginError
from storycore.hooks import hookimpl
from storycore.plugins import API, Adapter, Plugins
from storycore.ports.lifecycle import PortName


def distribution(folder: Path, name: str, source: str) -> None:
    """Put an installed distribution with one entry point and one module on the path."""
    info = folder / f"acme_{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[storycore.adapters]\n{name} = acme_{name}\n")
    (folder / f"acme_{name}.py").write_text(source)


GOOD = """
from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName

@hookimpl
def storycore_adapters():
    return [Adapter(name="good", ports={PortName.CACHE: "acme_good_missing:open_cache"}, distribution="acme-good")]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def test_an_adapter_is_found_by_its_entry_point_and_loaded_only_when_asked_for(site: Path) -> None:
    distribution(site, "good", GOOD)
    plugins = Plugins()
    assert "good" in plugins.names()
    assert "acme_good" not in sys.modules
    assert plugins.adapter("good").distribution == "acme-good"


@pytest.mark.parametrize(
    "source",
    ["import a_module_that_is_not_there", "1 / 0", "raise SystemError('bad')", "def storycore_adapters(:"],
)
def test_a_broken_plugin_is_named_and_stops_nobody_else(site: Path, source: str) -> None:
    distribution(site, "good", GOOD)
    distribution(site, "broken", source)
    plugins = Plugins()
    with pytest.raises(PluginError, match="acme-broken"):
        plugins.adapter("broken")
    assert plugins.adapter("good").name == "good"
    problems = {found.name: found.problem for found in plugins.found()}
    assert "pip install --force-reinstall acme-broken" in problems["broken"]
    assert problems["good"] == problems["memory"] == ""


def test_a_plugin_that_fails_in_its_hook_is_named(site: Path) -> None:
    distribution(
        site,
        "failing",
        "from storycore.hooks import hookimpl\n@hookimpl\ndef storycore_adapters():\n    raise OSError('no')\n",
    )
    with pytest.raises(PluginError, match="failing"):
        Plugins().adapter("failing")


@pytest.mark.parametrize(
    "hook",
    ["def storycore_adapters(nonsense): return []", "def storycore_adapters(): return ['good']"],
    ids=["another signature", "no adapters"],
)
def test_a_plugin_with_a_wrong_hook_is_named_and_stops_nobody_else(site: Path, hook: str) -> None:
    distribution(site, "good", GOOD)
    distribution(site, "wrong", f"from storycore.hooks import hookimpl\n@hookimpl\n{hook}\n")
    plugins = Plugins()
    found = {entry.name: entry.problem for entry in plugins.found()}
    assert (found["good"], "'wrong'" in found["wrong"]) == ("", True)
    assert ["good"] not in plugins.hook.storycore_adapters()


def test_an_object_may_have_the_name_of_another_plugin(site: Path) -> None:
    class Namesake:
        __name__ = "good"

        @hookimpl
        def storycore_adapters(self) -> list[Adapter]:
            return []

    distribution(site, "good", GOOD)
    assert Plugins([Namesake(), Namesake()]).adapter("good").distribution == "acme-good"


def test_a_plugin_without_its_adapter_is_named(site: Path) -> None:
    distribution(site, "empty", "")
    with pytest.raises(PluginError, match="provides no adapter"):
        Plugins().adapter("empty")


def test_a_vendor_library_that_is_missing_is_reported_when_the_port_is_opened(site: Path) -> None:
    distribution(site, "good", GOOD)
    adapter = Plugins().adapter("good")
    with pytest.raises(PluginError, match="acme_good_missing"):
        adapter.opener(PortName.CACHE)


def test_an_adapter_that_is_not_installed_comes_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storycore.plugins._SHIPPED", frozenset({"ghost"}))
    with pytest.raises(AdapterNotFound, match=r"storycore\[ghost\]"):
        Plugins().adapter("ghost")


def test_an_unknown_adapter_comes_with_the_nearest_name() -> None:
    with pytest.raises(AdapterNotFound) as caught:
        Plugins().adapter("memroy")
    assert caught.value.suggestion == "memory"


class Mine:
    """A plugin without packaging: an object with hook implementations."""

    def __init__(self, name: str, api: int = API) -> None:
        self.adapter = Adapter(name=name, ports={}, api=api)

    @hookimpl
    def storycore_adapters(self) -> list[Adapter]:
        return [self.adapter]


def test_two_distributions_with_one_adapter_name_are_both_named(site: Path) -> None:
    distribution(site, "good", GOOD)
    other = site / "other_good-3.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-good\nVersion: 3\n")
    (other / "entry_points.txt").write_text("[storycore.adapters]\ngood = other_good\n")
    plugins = Plugins()
    with pytest.raises(PluginError, match=r"acme-good.*other-good"):
        plugins.adapter("good")
    assert any("other-good" in found.problem for found in plugins.found())


def test_code_without_packaging_registers_the_same_object() -> None:
    assert Plugins(extra=[Mine("mine")]).adapter("mine").name == "mine"


def test_two_stores_do_not_share_plugins() -> None:
    Plugins(extra=[Mine("mine")])
    with pytest.raises(AdapterNotFound):
        Plugins().adapter("mine")


def test_a_plugin_of_another_interface_version_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match="speaks version 99"):
        Plugins(extra=[Mine("late", api=99)])
