"""Plain files keep the BlobStore contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storycore_files._names import path_of

from storycore.ports.blobs import BlobStore
from storycore.testing.blob_back_door import BackDoor
from storycore.testing.blobs import BlobStoreSuite
from storycore.testing.harness import Harness


class Files:
    """What another program sees of the folder: the content, and behind it a line of JSON and a last line."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def content(self, key: str) -> bytes | None:
        path = self._root.joinpath(*path_of(key))
        return self._cut(path)[0] if path.is_file() else None

    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        path = self._root.joinpath(*path_of(key))
        content, behind = self._cut(path)
        path.write_bytes(change(content) + behind)

    def remove(self, key: str) -> None:
        self._root.joinpath(*path_of(key)).unlink(missing_ok=True)

    def _cut(self, path: Path) -> tuple[bytes, bytes]:
        data = path.read_bytes()
        length = int(data[-18:-10], 16)
        return data[:-length], data[-length:]


class TestFileBlobs(BlobStoreSuite):
    adapter = "files"

    @staticmethod
    def back_door(store: BlobStore, harness: Harness) -> BackDoor:
        """The folder."""
        return Files(harness.path / "blobs" / "blobs")
