"""Places of adapters that keep files: what no path can be is told by its setting, and a home folder is found."""

from __future__ import annotations

from pathlib import Path

import pytest

import storycore
from storycore.errors import ConfigError, StorycoreError
from storycore.plugins import Plugins
from storycore.ports.lifecycle import PortName
from storycore.profiles import PortSettings, resolve

FILES = [(PortName.VECTORS, "faiss"), (PortName.ENTITIES, "sqlite"), (PortName.EVENTS, "sqlite")]
FOLDERS = [(PortName.CACHE, "diskcache"), (PortName.BLOBS, "files")]


def place(port: PortName, name: str, path: str) -> Path:
    """The path as the adapter gets it."""
    config = resolve(PortSettings(adapter=name, options={"path": path}), Plugins().adapter(name), port, environ={})
    found: Path = config.path  # type: ignore[attr-defined]  # all of these adapters have it
    return found


@pytest.mark.parametrize(("port", "name"), [*FILES, *FOLDERS])
@pytest.mark.parametrize("path", ["a\0b", "", "~nobody-of-that-name/x"], ids=["NUL", "empty", "no such home"])
def test_what_is_no_path_is_told_by_its_setting(port: PortName, name: str, path: str) -> None:
    """The error is a ``ConfigError`` that names the setting, before anything is made."""
    with pytest.raises(ConfigError) as caught:
        place(port, name, path)
    assert caught.value.path == f"{port}.path"


@pytest.mark.parametrize(("port", "name"), FILES)
@pytest.mark.parametrize("path", [":memory:", ".", "\udcff.db"], ids=["memory", "a folder", "not Unicode"])
def test_what_is_no_file_is_told_by_its_setting(port: PortName, name: str, path: str) -> None:
    """SQLite's name for "no file" is none here, nor is a folder, nor what SQLite cannot be told."""
    with pytest.raises(ConfigError, match=f"{port}.path: "):
        place(port, name, path)


@pytest.mark.parametrize(("port", "name"), [*FILES, *FOLDERS])
def test_the_home_folder_is_found(port: PortName, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the home folder for every adapter, and never a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "data" / "x" == place(port, name, "~/data/x")


@pytest.mark.parametrize(("port", "name"), [*FILES, *FOLDERS])
async def test_a_path_that_is_too_long_is_an_error_of_storycore(port: PortName, name: str, tmp_path: Path) -> None:
    """What the system says of the path comes as an error that names it."""
    path = tmp_path / ("n" * 300)
    async with storycore.open("memory", overrides={str(port): {"adapter": name, "path": str(path)}}) as store:
        with pytest.raises(StorycoreError, match="n" * 300):
            await store.init()


def test_a_nul_in_a_url_is_told_by_its_setting() -> None:
    """An encoded NUL is found too, in the path as in any other text, and a password is not shown."""
    settings = PortSettings(adapter="faiss", url="faiss:///a%00b.db")
    with pytest.raises(ConfigError, match=r"vectors\.path: .*NUL"):
        resolve(settings, Plugins().adapter("faiss"), PortName.VECTORS, environ={})
    settings = PortSettings(adapter="redis", options={"password": "very\0secret"})
    with pytest.raises(ConfigError, match=r"cache\.password: .*NUL") as caught:
        resolve(settings, Plugins().adapter("redis"), PortName.CACHE, environ={})
    assert "secret" not in caught.value.message
