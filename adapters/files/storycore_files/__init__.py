"""The blobs of storycore as plain files."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_files.config import FilesConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The blob store on a file system."""
    return [
        Adapter(
            name="files",
            ports={PortName.BLOBS: "storycore_files.blobs:open_blobs"},
            config=FilesConfig,
            distribution="storycore-files",
            summary="Blobs as plain files in a folder: atomic, checked, safe between processes.",
            conformance={"path": "{path}/blobs"},
        )
    ]
