"""Documents about Richmond, Virginia, in four formats: material for demonstrations, measurements and tests."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from storycore.corpus.questions import QUESTIONS, Question

__all__ = ["QUESTIONS", "Question", "richmond"]


def richmond() -> Path:
    """The folder with the documents."""
    return Path(str(files("storycore.corpus") / "richmond"))
