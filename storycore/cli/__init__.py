"""The command line: ``storycore …``. Every command is a module of its own, imported only when it is called."""

from __future__ import annotations

from storycore.cli.program import main

__all__ = ["main"]
