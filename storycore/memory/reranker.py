"""The word reranker: which share of the query's words a text has. For tests; meaning is not looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from storycore.memory.config import MemoryConfig
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore.ports.words import distinct_words

__all__ = ["MemoryReranker", "open_reranker"]


class MemoryReranker(Lifecycle):
    """A text's score is the share of the query's distinct words that it has: 0 none, 1 all of them.

    A query without words scores 0 with every text.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("memory")

    @property
    def capabilities(self) -> Capabilities:
        """Nothing is kept, so nothing is claimed."""
        return Capabilities()

    @property
    def model(self) -> str:
        """A model that is not semantic, as its name says."""
        return "storycore-words-not-semantic"

    async def open(self) -> None:
        """Make the thread in which texts are read."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="storycore-rerank")
        await super().open()

    async def health(self, *, deep: bool = False) -> Health:
        """Whether it is open."""
        return Health(self._opened, "" if self._opened else "The word reranker is not open; call open() first.")

    async def close(self) -> None:
        """Let the thread go."""
        await super().close()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in order."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: [_share(query, text) for text in texts]
        )


def open_reranker(config: MemoryConfig, env: Environment) -> MemoryReranker:
    """Make the word reranker, not yet open."""
    return MemoryReranker()


def _share(query: str, text: str) -> float:
    wanted = distinct_words(query)
    found = set(distinct_words(text))
    return sum(word in found for word in wanted) / len(wanted) if wanted else 0.0
