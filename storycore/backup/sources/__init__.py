"""Sources: what each port gives to a backup, and how it takes it back."""

from __future__ import annotations

from storycore.backup.sources.contract import Contents, Reached, Sink, Source, Step

__all__ = ["Contents", "Reached", "Sink", "Source", "Step"]
