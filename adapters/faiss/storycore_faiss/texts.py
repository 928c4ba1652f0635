"""Texts: the words of the items, in an FTS5 table that is written in the same transactions as the items."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, Literal, NamedTuple

import orjson

from storycore.ports.words import text_score, word_texts
from storycore_faiss._sql import WORDS, choosing

__all__ = ["Found", "Texts", "tokens"]

_LONGEST = 256
"""Characters of a word that is kept as it is; FTS5 cuts words off at 32 768 bytes, and would take two for one."""
_MARK = "\u2026"
"""Begins what stands for a longer word; no word has it, and the ASCII tokenizer takes it for a letter."""
_AT_ONCE = 256
"""Words that FTS5 is asked for in one statement; its time to read them grows with their square."""
_FEW = 4096
"""So few slots SQLite is told as a list, which costs by their number; else it asks for each item it has found."""
_FOUND = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?"
_LISTED = " AND +rowid IN (SELECT value FROM json_each(?))"
_CHOSEN = " AND chosen(rowid)"
_NEAR = 1 - 1e-9
"""What is below the last match by less than this may still be equal to it once it is rounded."""


class Found(NamedTuple):
    """An item that has one of the words; ``metadata`` as JSON."""

    id: str
    score: float
    metadata: bytes


class Texts:
    """The statements over one connection; the caller holds the transaction.

    The table's rows have the slots of their items. An item whose text has no words has no row, so that SQLite's
    ``bm25()`` counts what ``TextQuery`` counts, and k1, b and the least rarity are those of ``TextQuery``, too.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Keep the words of new slots."""
        rows = ((slot, joined) for slot, text in texts if (joined := tokens(text)))
        self._sql.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", rows)

    def clear(self) -> None:
        """Forget the words of all items at once, which costs no more for many than for one."""
        self._sql.execute("DROP TABLE words")
        self._sql.execute(WORDS)

    def best(self, asked: Sequence[str], top_k: int, slots: Sequence[int] | None) -> list[Found]:
        """The items that answer distinct words best: scores descending, equal ones by id.

        Args:
            asked: the words.
            top_k: how many items at most.
            slots: choose among these; ``None``: among all.
        """
        scored = self._scored(asked, slots)
        if not scored:
            return []
        least = heapq.nlargest(top_k, (score for _, score in scored))[-1] * _NEAR
        near = {slot: text_score(score) for slot, score in scored if score >= least}
        ranked = sorted((-near[slot], id_, slot) for slot, id_ in self._column("id", near))[:top_k]
        metadata = dict(self._column("metadata", (slot for _, _, slot in ranked)))
        return [Found(id_, -score, metadata[slot]) for score, id_, slot in ranked]

    def tidy(self) -> None:
        """Merge what many small writes have left into one."""
        self._sql.execute("INSERT INTO words(words) VALUES ('optimize')")

    def _scored(self, asked: Sequence[str], slots: Sequence[int] | None) -> Sequence[tuple[int, float]]:
        """Every item that has one of the words, with its score, which is the sum of what each word adds."""
        parts = [self._scored_at_once(asked[i : i + _AT_ONCE], slots) for i in range(0, len(asked), _AT_ONCE)]
        if len(parts) == 1:
            return parts[0]
        sums: dict[int, float] = {}
        for slot, score in chain.from_iterable(parts):
            sums[slot] = sums.get(slot, 0.0) + score
        return list(sums.items())

    def _scored_at_once(self, asked: Sequence[str], slots: Sequence[int] | None) -> list[tuple[int, float]]:
        """The plus sign keeps SQLite from looking up slot by slot, which would count all words anew for each."""
        wanted = " OR ".join(f'"{_token(word)}"' for word in asked)
        if slots is None:
            return self._sql.execute(_FOUND, (wanted,)).fetchall()
        if len(slots) <= _FEW:
            return self._sql.execute(_FOUND + _LISTED, (wanted, _json(slots))).fetchall()
        with choosing(frozenset(slots)):
            return self._sql.execute(_FOUND + _CHOSEN, (wanted,)).fetchall()

    def _column(self, name: Literal["id", "metadata"], slots: Iterable[int]) -> list[tuple[int, Any]]:  # a text or JSON
        statement = f"SELECT slot, {name} FROM item WHERE slot IN (SELECT value FROM json_each(?))"  # noqa: S608
        return self._sql.execute(statement, (_json(slots),)).fetchall()


def tokens(text: str) -> str:
    """The words of a text as the table keeps them; FTS5's ASCII tokenizer takes it apart at the spaces alone."""
    return " ".join(map(_token, word_texts(text)))


def _token(word: str) -> str:
    return word if len(word) <= _LONGEST else _MARK + blake2b(word.encode(), digest_size=16).hexdigest()


def _json(slots: Iterable[int]) -> str:
    return orjson.dumps(list(slots)).decode()
