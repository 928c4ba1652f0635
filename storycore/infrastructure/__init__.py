"""Infrastructure: what a profile needs in a cloud, as the documents that other tools take. Connects to nothing."""

from __future__ import annotations

from storycore.infrastructure.declared import Declared, declared
from storycore.infrastructure.documents import FORMATS, document

__all__ = ["FORMATS", "Declared", "declared", "document"]
