"""``python -m storycore`` is ``storycore``."""

from __future__ import annotations

from storycore.cli import main

main()
