"""The VectorIndex suite catches every one of these indexes: the reference with one fault in its search by words."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.filters import Filter, evaluate
from storycore.ports.vectors import IndexSpec, Match, TextQuery, Updated, VectorItem
from storycore.ports.words import text_of, words
from storycore.testing.vector_trials import demand_index_caught, index_failure

CAUGHT_BY: dict[type[MemoryVectorIndex], str] = {}


def caught_by(test: str) -> Callable[[type[MemoryVectorIndex]], type[MemoryVectorIndex]]:
    """Note which test has to fail over a faulty index; its docstring says what is wrong with it."""

    def note(cls: type[MemoryVectorIndex]) -> type[MemoryVectorIndex]:
        CAUGHT_BY[cls] = test
        return cls

    return note


class OwnWords(MemoryVectorIndex):
    """Searches by words step by step, each of which a fault may change; as it is, it is right."""

    k1, b, floor = 1.2, 0.75, 1e-6

    def asked(self, text: str) -> list[str]:
        return list(dict.fromkeys(self.split(text)))

    def split(self, text: str) -> list[str]:
        return [word.text for word in words(text)]

    def texts(self, namespace: str, where: Filter | None) -> list[list[str]]:
        items = [item for space in self._spaces.values() for item in space.values()]
        return [text for item in items if (text := self.read(item))]

    def read(self, item: VectorItem) -> list[str]:
        return self.split(text_of(item.metadata, self._spec.text_fields))

    def has(self, text: Sequence[str], asked: Sequence[str]) -> bool:
        return any(word in text for word in asked)

    def part(self, word: str, text: Sequence[str], texts: Sequence[Sequence[str]]) -> float:
        often, having = text.count(word), sum(word in other for other in texts)
        length = len(text) / (sum(map(len, texts)) / len(texts))
        idf = max(math.log((len(texts) - having + 0.5) / (having + 0.5)), self.floor)
        return idf * often * (self.k1 + 1) / (often + self.k1 * (1 - self.b + self.b * length))

    def ordered(self, found: list[Match]) -> list[Match]:
        return sorted(found, key=lambda match: (-match.score, match.id))

    def _search_text(self, query: TextQuery) -> list[Match]:
        self._require_seen(query.at_least)
        asked, texts = self.asked(query.text), self.texts(query.namespace, query.where)
        found = [
            Match(item.id, math.fsum(self.part(word, text, texts) for word in asked), item.metadata, query.namespace)
            for item in self._chosen(query.namespace, query.where)
            if self.has(text := self.read(item), asked)
        ]
        return self.ordered(found)[: query.top_k]


@caught_by("test_scores_are_exact")
class AnotherSaturation(OwnWords):
    """k1 is 1.5."""

    k1 = 1.5


@caught_by("test_scores_are_exact")
class LengthDoesNotCount(OwnWords):
    """b is 0."""

    b = 0.0


@caught_by("test_a_word_that_nearly_all_have_still_counts")
class FrequentWordsCountAgainst(OwnWords):
    """A word in more than half of the texts has a negative weight."""

    floor = -math.inf


@caught_by("test_scores_are_exact")
class RepeatedWordsCountTwice(OwnWords):
    """A word that is asked for twice counts twice."""

    def asked(self, text: str) -> list[str]:
        return self.split(text)


@caught_by("test_all_namespaces_count")
class EachNamespaceForItself(OwnWords):
    """How rare a word is, is told by the items of the namespace."""

    def texts(self, namespace: str, where: Filter | None) -> list[list[str]]:
        return [text for item in self._spaces.get(namespace, {}).values() if (text := self.read(item))]


@caught_by("test_a_filter_chooses_and_changes_no_score")
class FiltersChangeScores(OwnWords):
    """How rare a word is, is told by the items that match the filter."""

    def texts(self, namespace: str, where: Filter | None) -> list[list[str]]:
        items = [item for space in self._spaces.values() for item in space.values()]
        return [text for i in items if (where is None or evaluate(where, i.metadata)) and (text := self.read(i))]


@caught_by("test_scores_are_exact")
class WordlessItemsCount(OwnWords):
    """Items without a word count as texts of no length."""

    def texts(self, namespace: str, where: Filter | None) -> list[list[str]]:
        return [self.read(item) for space in self._spaces.values() for item in space.values()]


@caught_by("test_a_filter_chooses_and_changes_no_score")
class CutsBeforeFiltering(OwnWords):
    """Takes the best ``top_k`` first and filters them afterwards."""

    def _search_text(self, query: TextQuery) -> list[Match]:
        where = query.where
        found = super()._search_text(replace(query, where=None))
        return [match for match in found if where is None or evaluate(where, match.metadata)]


@caught_by("test_an_item_matches_when_it_has_one_of_the_words")
class AllWordsAreNeeded(OwnWords):
    """An item matches when it has all of the words."""

    def has(self, text: Sequence[str], asked: Sequence[str]) -> bool:
        return bool(asked) and all(word in text for word in asked)


@caught_by("test_an_item_matches_when_it_has_one_of_the_words")
class BeginningsAreEnough(OwnWords):
    """A word matches all words that begin with it."""

    def has(self, text: Sequence[str], asked: Sequence[str]) -> bool:
        return any(held.startswith(word) for held in text for word in asked)


@caught_by("test_an_item_matches_when_it_has_one_of_the_words")
class AccentsMatter(OwnWords):
    """Words are compared with their accents."""

    def split(self, text: str) -> list[str]:
        return [text[word.start : word.end].casefold() for word in words(text)]


@caught_by("test_an_item_matches_when_it_has_one_of_the_words")
class SpacesDivideWords(OwnWords):
    """Only blanks divide words, so that scripts without them have none."""

    def split(self, text: str) -> list[str]:
        return text.lower().split()


@caught_by("test_an_item_matches_when_it_has_one_of_the_words")
class TextsAreSyntax(OwnWords):
    """``NOT`` and ``AND`` in a text are operators."""

    def asked(self, text: str) -> list[str]:
        return super().asked(text.replace("NOT", "").replace("AND", ""))


@caught_by("test_equal_texts_are_ordered_by_id")
class TiesInOrderOfWriting(OwnWords):
    """Equal scores come in the order in which the items were written."""

    def ordered(self, found: list[Match]) -> list[Match]:
        return sorted(found, key=lambda match: -match.score)


@caught_by("test_texts_of_any_length_are_told_apart")
class LongWordsAreCut(OwnWords):
    """Words are compared up to 32 768 characters."""

    def split(self, text: str) -> list[str]:
        return [word[:32_768] for word in super().split(text)]


@caught_by("test_other_fields_can_be_read")
class ReadsEveryField(OwnWords):
    """All texts of an item are read."""

    def read(self, item: VectorItem) -> list[str]:
        return self.split(text_of(item.metadata, sorted(item.metadata)))


@caught_by("test_other_fields_can_be_read")
class ReadsTheFirstField(OwnWords):
    """Of several text fields only the first is read."""

    def read(self, item: VectorItem) -> list[str]:
        return self.split(text_of(item.metadata, self._spec.text_fields[:1]))


@caught_by("test_other_fields_can_be_read")
class JoinsWithoutASpace(OwnWords):
    """The texts of several fields run into each other."""

    def read(self, item: VectorItem) -> list[str]:
        return self.split(text_of(item.metadata, self._spec.text_fields).replace("\n", ""))


@caught_by("test_other_fields_can_be_read")
class ReadsNumbers(OwnWords):
    """A number in a text field is read as a text."""

    def read(self, item: VectorItem) -> list[str]:
        metadata = {k: str(v) if isinstance(v, int) else v for k, v in item.metadata.items()}
        return self.split(text_of(metadata, self._spec.text_fields))


class _Indexed(OwnWords):
    """Reads texts when they are written, into an index of its own."""

    def __init__(self, spec: IndexSpec) -> None:
        super().__init__(spec)
        self.held: dict[tuple[str, str], list[str]] = {}

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Any:
        written = await super().upsert(items, namespace=namespace)
        for item in items:
            self.held[namespace, item.id] = OwnWords.read(self, item)
        return written


@caught_by("test_words_follow_every_change")
class UpdatesLeaveOldWords(_Indexed):
    """An item is found by its words from before an update."""

    def read(self, item: VectorItem) -> list[str]:
        return next(text for (_, id_), text in self.held.items() if id_ == item.id)


@caught_by("test_words_follow_every_change")
class TheRemovedStillCount(_Indexed):
    """How rare a word is, is told by removed items as well."""

    def texts(self, namespace: str, where: Filter | None) -> list[list[str]]:
        live = {(name, id_): self.read(item) for name, space in self._spaces.items() for id_, item in space.items()}
        return [text for text in {**self.held, **live}.values() if text]


@caught_by("test_words_follow_every_change")
class UpdatesByFilterAddWords(OwnWords):
    """An update by filter adds its words to those that were there."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        before = {item.id: OwnWords.read(self, item) for item in self._chosen(namespace, where)}
        updated = await super().update_where(where, namespace=namespace, **change)
        self.more = before if "text" in (change["set"] or {}) else self.more
        return updated

    def read(self, item: VectorItem) -> list[str]:
        return [*super().read(item), *self.more.get(item.id, [])]

    more: dict[str, list[str]] = {}  # noqa: RUF012 - replaced, never changed


@caught_by("test_matches_of_words_carry_metadata_and_no_vector")
class SendsVectors(OwnWords):
    """Matches carry their vectors."""

    def _search_text(self, query: TextQuery) -> list[Match]:
        return [replace(match, values=array("f", [1])) for match in super()._search_text(query)]


@caught_by("test_matches_of_words_carry_metadata_and_no_vector")
class SendsNoMetadata(OwnWords):
    """Matches carry no metadata."""

    def _search_text(self, query: TextQuery) -> list[Match]:
        return [replace(match, metadata={}) for match in super()._search_text(query)]


@caught_by("test_a_search_by_words_sees_the_write_that_it_names")
class IgnoresTokens(OwnWords):
    """``at_least`` of a search by words is passed over."""

    def _search_text(self, query: TextQuery) -> list[Match]:
        return super()._search_text(replace(query, at_least=None))


@pytest.mark.parametrize("cls", CAUGHT_BY, ids=lambda cls: cls.__name__)
async def test_a_faulty_index_fails_its_test(cls: type[MemoryVectorIndex], tmp_path: Path) -> None:
    """The test that is about the fault fails on an index with it, and passes on the reference."""
    await demand_index_caught(cls, CAUGHT_BY[cls], tmp_path)


async def test_the_steps_are_right_without_a_fault(tmp_path: Path) -> None:
    """What the faulty indexes derive from passes all their tests, so that a catch means something."""
    assert await index_failure(OwnWords, tmp_path, sorted(set(CAUGHT_BY.values()))) is None
