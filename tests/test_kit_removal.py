"""Folders are removed whole, however deep."""

from __future__ import annotations

import os
from pathlib import Path

from storycore.testing.removal import remove_tree


def test_a_folder_deeper_than_any_path_can_say_is_removed(tmp_path: Path) -> None:
    """Twelve hundred levels, files on the way, and links that are not followed."""
    folder, outside = tmp_path / "folder", tmp_path / "outside.txt"
    outside.write_text("stays")
    folder.mkdir()
    (folder / "file").write_text("goes")
    (folder / "link").symlink_to(outside)
    (folder / "folder link").symlink_to(tmp_path, target_is_directory=True)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    remove_tree(folder)
    assert not folder.exists()
    assert outside.read_text() == "stays"


def test_removing_nothing_is_no_error(tmp_path: Path) -> None:
    """A folder that is not there stays not there."""
    remove_tree(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
