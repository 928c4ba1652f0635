"""The conformance suite of the Reranker port.

Derive from ``RerankerSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(RerankerSuite):
        adapter = "mine"
        options = {"model": "small"}
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from storycore.errors import InvalidArgument
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore.ports.reranking import Reranker
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.processes import Line, child
from storycore.testing.reranking_examples import ANSWERS, BLANK, TEXTS, WRONG_CALLS

__all__ = ["RerankerSuite"]

SAME = 1e-4
"""How much two scores of the same query and text may differ."""
_QUERY = "Where does the river fall on its way through the city?"
_MANY = 300
_LEAST_WORK_SECONDS = 0.2
_MOST_TEXTS = 4096


async def say_scores(store: Reranker, line: Line) -> None:
    """In another process: score all example texts."""
    line.say(await store.rerank(_QUERY, list(TEXTS.values())))


class RerankerSuite(LifecycleSuite):
    """Every sentence of the Reranker port as a test."""

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(PortName.RERANKER, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[Reranker]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: Reranker) -> object:
        """Score a word."""
        return await store.rerank("river", ["The river."])

    # The model.

    @pytest.mark.asyncio
    async def test_the_model_is_known_before_opening(self, harness: Harness) -> None:
        """``model`` needs no open adapter, opening and closing do not change it, and it names something."""
        made = harness.make()
        before = made.model
        assert (str, True) == (type(before), bool(before.strip()))
        async with made as store:
            assert before == store.model
        assert before == made.model

    @pytest.mark.asyncio
    async def test_the_text_that_answers_is_first(self, store: Reranker) -> None:
        """Of several texts the one that answers in the question's own words has the highest score, wherever it is."""
        for turn, (query, answer) in enumerate(ANSWERS):
            texts = [text for _, text in ANSWERS]
            texts = texts[turn:] + texts[:turn]
            scores = await store.rerank(query, texts)
            assert answer == texts[scores.index(max(scores))], query

    @pytest.mark.asyncio
    async def test_the_query_decides(self, store: Reranker) -> None:
        """The same two texts change places when the query asks for the other one."""
        (first, a), (second, b) = ANSWERS[:2]
        one, two = await store.rerank(first, [a, b]), await store.rerank(second, [a, b])
        assert (one[0] > one[1], two[0] < two[1]) == (True, True)

    # The scores.

    @pytest.mark.asyncio
    async def test_every_text_has_one_finite_score(self, store: Reranker) -> None:
        """Any text that is not blank gives a float, finite, whatever it holds."""
        for name, text in TEXTS.items():
            scores = await store.rerank(_QUERY, [text])
            assert [float] == [type(score) for score in scores], name
            assert all(map(math.isfinite, scores)), name

    @pytest.mark.asyncio
    async def test_any_query_is_answered(self, store: Reranker) -> None:
        """Queries are texts as well: each gives as many finite scores as there are texts."""
        for name, query in TEXTS.items():
            scores = await store.rerank(query, [TEXTS["a sentence"], TEXTS["digits"]])
            assert (len(scores), all(map(math.isfinite, scores))) == (2, True), name

    @pytest.mark.asyncio
    async def test_a_text_has_one_score_alone_and_in_every_batch(self, store: Reranker) -> None:
        """Neighbours, order and repetition in a call do not change a text's score."""
        texts = list(TEXTS.values())
        alone = {text: (await store.rerank(_QUERY, [text]))[0] for text in texts}
        shuffle = random.Random(7)
        for _ in range(3):
            batch = shuffle.choices(texts, k=len(texts))
            assert _farthest([alone[text] for text in batch], await store.rerank(_QUERY, batch)) <= SAME

    @pytest.mark.asyncio
    async def test_another_query_leaves_no_trace(self, store: Reranker) -> None:
        """What was asked in between changes nothing."""
        texts = [text for _, text in ANSWERS]
        before = await store.rerank(ANSWERS[0][0], texts)
        await store.rerank(ANSWERS[1][0], texts)
        assert _farthest(before, await store.rerank(ANSWERS[0][0], texts)) <= SAME

    @pytest.mark.asyncio
    async def test_scores_stay_the_same_after_reopening(self, harness: Harness) -> None:
        """The model, not the session, decides."""
        store = await harness.started()
        before = await store.rerank(_QUERY, list(TEXTS.values()))
        await store.close()
        async with await harness.started() as store:
            after = await store.rerank(_QUERY, list(TEXTS.values()))
        assert _farthest(before, after) <= SAME

    @pytest.mark.asyncio
    async def test_another_process_gives_the_same_scores(self, store: Reranker, harness: Harness) -> None:
        """Nothing depends on the process, such as its seed for hashes."""
        mine = await store.rerank(_QUERY, list(TEXTS.values()))
        async with child(harness, f"{__name__}:say_scores") as other:
            assert _farthest(mine, await other.hear()) <= SAME

    # The call.

    @pytest.mark.asyncio
    async def test_no_texts_give_no_scores(self, store: Reranker) -> None:
        """An empty sequence gives an empty list."""
        assert (await store.rerank(_QUERY, []), await store.rerank(_QUERY, ())) == ([], [])

    @pytest.mark.asyncio
    async def test_many_texts_give_as_many_scores_in_order(self, store: Reranker) -> None:
        """There is no limit on the number of texts, and the order is theirs."""
        texts = [f"{i} {'boats ' * (i * 7 % 13)}{'river city' if i % 3 else 'canal'}" for i in range(_MANY)]
        kept = list(texts)
        scores = await store.rerank(_QUERY, tuple(texts))
        assert (_MANY, kept) == (len(scores), texts)
        places = (0, 1, 99, 100, 101, 255, 256, _MANY - 1)
        alone = [(await store.rerank(_QUERY, [texts[i]]))[0] for i in places]
        assert _farthest(alone, [scores[i] for i in places]) <= SAME

    @pytest.mark.asyncio
    async def test_the_callers_list_is_left_as_it_is(self, store: Reranker) -> None:
        """Texts are read, not sorted or emptied in place."""
        texts = [TEXTS["digits"], TEXTS["a sentence"], TEXTS["a letter"]]
        await store.rerank(_QUERY, texts)
        assert [TEXTS["digits"], TEXTS["a sentence"], TEXTS["a letter"]] == texts

    @pytest.mark.asyncio
    async def test_texts_are_those_of_the_moment_of_the_call(self, store: Any) -> None:
        """A generator loses none of its texts, and a list that changes meanwhile changes nothing."""
        texts = [TEXTS["digits"], TEXTS["a sentence"]]
        expected = await store.rerank(_QUERY, texts)
        assert _farthest(expected, await store.rerank(_QUERY, (text for text in texts))) <= SAME
        call = asyncio.create_task(store.rerank(_QUERY, texts))
        await asyncio.sleep(0)
        texts[:] = [TEXTS["a letter"]]
        assert _farthest(expected, await call) <= SAME

    @pytest.mark.asyncio
    async def test_blank_texts_are_refused_by_their_position(self, store: Reranker) -> None:
        """Blank texts say nothing and are refused, with the position in the message; the next call is served."""
        for blank in BLANK:
            with pytest.raises(InvalidArgument, match=r"\b2\b"):
                await store.rerank(_QUERY, ["river", "bridge", blank])
            with pytest.raises(InvalidArgument, match="query"):
                await store.rerank(blank, ["river"])
        assert len(await store.rerank(_QUERY, ["river"])) == 1

    @pytest.mark.asyncio
    async def test_what_is_no_list_of_texts_is_refused(self, store: Any) -> None:
        """A single text, a lone surrogate, bytes and None are ``InvalidArgument``."""
        for query, texts in WRONG_CALLS:
            with pytest.raises(InvalidArgument):
                await store.rerank(query, texts)

    @pytest.mark.asyncio
    async def test_calls_at_the_same_time_do_not_mix(self, store: Reranker) -> None:
        """Each of several calls that overlap gets the scores of its own query and texts."""
        calls = [(ANSWERS[i % 4][0], [text for _, text in ANSWERS][: 1 + i % 4]) for i in range(12)]
        found = await asyncio.gather(*(store.rerank(query, texts) for query, texts in calls))
        for (query, texts), scores in zip(calls, found, strict=True):
            assert _farthest(await store.rerank(query, texts), scores) <= SAME

    @pytest.mark.asyncio
    async def test_a_cancelled_call_hurts_no_other(self, store: Reranker) -> None:
        """A caller who gives up gets ``CancelledError``, and others are served."""
        expected = await store.rerank(_QUERY, [TEXTS["a sentence"]])
        given_up = asyncio.create_task(store.rerank(_QUERY, list(TEXTS.values())))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert _farthest(expected, await store.rerank(_QUERY, [TEXTS["a sentence"]])) <= SAME

    @pytest.mark.asyncio
    async def test_the_event_loop_goes_on_meanwhile(self, store: Reranker) -> None:
        """Other tasks get their turns while texts are scored: most of the time, in one of three attempts at least."""
        gap, elapsed, count = 0.0, 0.0, 1
        while elapsed < _LEAST_WORK_SECONDS and count <= _MOST_TEXTS:
            count *= 4
            gap, elapsed = await _longest_gap(store, count)
        for _ in range(2):
            if gap > elapsed / 2:
                gap, elapsed = await _longest_gap(store, count)
        assert elapsed < _LEAST_WORK_SECONDS or gap <= elapsed / 2


def _farthest(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The largest difference of two scores at the same place; infinite when there are not as many."""
    if len(expected) != len(actual):
        return math.inf
    return max((abs(a - b) for a, b in zip(expected, actual, strict=True)), default=0.0)


async def _longest_gap(store: Reranker, count: int) -> tuple[float, float]:
    """How long another task waits for its turn at most while ``count`` texts are scored, and how long that takes."""
    texts = [f"{i} {TEXTS['a long text'][:800]}" for i in range(count)]
    turns = [time.perf_counter()]

    async def take_turns() -> None:
        while True:
            await asyncio.sleep(0.001)
            turns.append(time.perf_counter())

    other = asyncio.create_task(take_turns())
    scores = await store.rerank(_QUERY, texts)
    turns.append(time.perf_counter())
    other.cancel()
    assert count == len(scores)
    return max(after - before for before, after in pairwise(turns)), turns[-1] - turns[0]
