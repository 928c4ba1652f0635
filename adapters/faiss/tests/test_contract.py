"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from storycore.testing.vectors import VectorIndexSuite


class TestFaissVectors(VectorIndexSuite):
    """The VectorIndex contract on one SQLite file with FAISS in memory."""

    adapter = "faiss"


class TestFaissHalvedVectors(VectorIndexSuite):
    """The same with the upper halves of numbers in memory, where the file has the last word; with fewer trials."""

    adapter = "faiss"
    options: ClassVar[Mapping[str, object]] = {"storage": "bfloat16"}
    machine_examples = 8
    kill_rounds = 1


class TestFaissVectorsOnDisk(VectorIndexSuite):
    """The same with the vectors left in the file; with fewer trials."""

    adapter = "faiss"
    options: ClassVar[Mapping[str, object]] = {"vectors": "disk"}
    machine_examples = 8
    kill_rounds = 1
