"""The conformance suite of the Embedder port.

Derive from ``EmbedderSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(EmbedderSuite):
        adapter = "mine"
        options = {"model": "small"}
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from array import array
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from storycore.errors import InvalidArgument
from storycore.plugins import Adapter
from storycore.ports.embeddings import Embedder, Purpose
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Vector
from storycore.testing.embedding_examples import BLANK, PARAPHRASES, TEXTS, WRONG_CALLS, closeness, farthest
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.processes import Line, child

__all__ = ["EmbedderSuite"]

SAME = 1e-5
"""How much two vectors of the same text may differ in any component."""
DIFFERENT = 1e-3
"""How much vectors of texts that differ in their words must differ in some component."""
_MANY = 300
_SEEN_WORDS = 100
_MOST_TOKENS = 8192
_PURPOSES: tuple[Purpose, ...] = ("document", "query")
_LIMITS = ("embedder.batch", "embedder.calls")


async def say_vectors(store: Embedder, line: Line) -> None:
    """In another process: embed all example texts."""
    for vector in await store.embed(list(TEXTS.values()), purpose="document"):
        line.say(list(vector))


class EmbedderSuite(LifecycleSuite):
    """Every sentence of the Embedder port as a test."""

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(PortName.EMBEDDER, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[Embedder]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: Embedder) -> object:
        """Embed a word."""
        return await store.embed(["river"], purpose="query")

    # The model.

    @pytest.mark.asyncio
    async def test_the_model_is_known_before_opening(self, harness: Harness) -> None:
        """``spec`` needs no open adapter, opening and closing do not change it, and it names a model."""
        made = harness.make()
        before = made.spec
        assert (bool(before.model.strip()), before.dimension >= 1, before.max_tokens >= 1) == (True, True, True)
        async with made as store:
            assert before == store.spec
        assert before == made.spec

    @pytest.mark.asyncio
    async def test_what_is_behind_the_last_token_is_not_seen(self, store: Embedder) -> None:
        """Texts that differ only behind ``max_tokens`` tokens give the same vector."""
        if store.spec.max_tokens > _MOST_TOKENS:
            pytest.skip(f"not claimed: a limit of at most {_MOST_TOKENS} tokens")
        seen = "river " * store.spec.max_tokens
        first, second = await store.embed([seen + "bridge", seen + "volcano"], purpose="document")
        assert farthest(first, second) <= SAME

    @pytest.mark.asyncio
    async def test_what_is_before_the_last_token_is_seen(self, store: Embedder) -> None:
        """Texts that differ well within ``max_tokens`` give different vectors."""
        seen = "river " * min(store.spec.max_tokens // 4, _SEEN_WORDS)
        first, second = await store.embed([seen + "bridge", seen + "volcano"], purpose="document")
        assert farthest(first, second) > DIFFERENT

    @pytest.mark.asyncio
    async def test_near_meaning_gives_near_vectors(self, store: Embedder) -> None:
        """A semantic model finds the paraphrase of a sentence among others, and rates it clearly above them."""
        if not store.spec.semantic:
            pytest.skip("not claimed: semantic")
        left = await store.embed([a for a, _ in PARAPHRASES], purpose="query")
        right = await store.embed([b for _, b in PARAPHRASES], purpose="document")
        rows = [[closeness(a, b) for b in right] for a in left]
        found = sum(row[i] == max(row) for i, row in enumerate(rows))
        assert found >= len(rows) - 1
        margins = [row[i] - (sum(row) - row[i]) / (len(row) - 1) for i, row in enumerate(rows)]
        assert sum(margins) / len(margins) > 0.1

    # The vectors.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("purpose", _PURPOSES)
    async def test_every_text_gives_a_unit_vector(self, store: Embedder, purpose: Purpose) -> None:
        """Any text that is not blank gives float32 numbers, as many as the dimension, finite, of length 1."""
        for name, text in TEXTS.items():
            (vector,) = await store.embed([text], purpose=purpose)
            assert (array, "f", store.spec.dimension) == (type(vector), vector.typecode, len(vector)), name
            assert all(map(math.isfinite, vector)), name
            assert math.isclose(1.0, closeness(vector, vector), abs_tol=1e-4), name

    @pytest.mark.asyncio
    @pytest.mark.parametrize("purpose", _PURPOSES)
    async def test_a_text_has_one_vector_alone_and_in_every_batch(self, store: Embedder, purpose: Purpose) -> None:
        """Neighbours, order and repetition in a batch do not change a text's vector."""
        texts = list(TEXTS.values())
        alone = {text: (await store.embed([text], purpose=purpose))[0] for text in texts}
        shuffle = random.Random(7)
        for _ in range(3):
            batch = shuffle.choices(texts, k=len(texts))
            vectors = await store.embed(batch, purpose=purpose)
            differences = [farthest(alone[text], vector) for text, vector in zip(batch, vectors, strict=True)]
            assert max(differences) <= SAME

    @pytest.mark.asyncio
    async def test_the_other_purpose_leaves_no_trace(self, store: Embedder) -> None:
        """Embedding for one purpose does not change what the other purpose gives."""
        text = TEXTS["a sentence"]
        (before,) = await store.embed([text], purpose="document")
        (query,) = await store.embed([text], purpose="query")
        (after,) = await store.embed([text], purpose="document")
        (again,) = await store.embed([text], purpose="query")
        assert (farthest(before, after) <= SAME, farthest(query, again) <= SAME) == (True, True)

    @pytest.mark.asyncio
    async def test_the_purpose_that_comes_first_does_not_matter(self, harness: Harness) -> None:
        """A text's vectors for both purposes are the same whichever is asked for first."""
        text = TEXTS["a sentence"]
        found: list[dict[Purpose, Vector]] = []
        for purposes in (_PURPOSES, _PURPOSES[::-1]):
            async with await harness.fresh().started() as store:
                found.append({purpose: (await store.embed([text], purpose=purpose))[0] for purpose in purposes})
        first, second = found
        assert max(farthest(first[purpose], second[purpose]) for purpose in _PURPOSES) <= SAME

    @pytest.mark.asyncio
    async def test_vectors_stay_the_same_after_reopening(self, harness: Harness) -> None:
        """The model, not the session, decides."""
        store = await harness.started()
        before = await store.embed(list(TEXTS.values()), purpose="document")
        await store.close()
        async with await harness.started() as store:
            after = await store.embed(list(TEXTS.values()), purpose="document")
        assert max(map(farthest, before, after)) <= SAME

    @pytest.mark.asyncio
    async def test_another_process_gives_the_same_vectors(self, store: Embedder, harness: Harness) -> None:
        """Nothing depends on the process, such as its seed for hashes."""
        mine = await store.embed(list(TEXTS.values()), purpose="document")
        async with child(harness, f"{__name__}:say_vectors") as other:
            theirs = [await other.hear() for _ in mine]
        assert max(map(farthest, mine, theirs)) <= SAME

    @pytest.mark.asyncio
    async def test_vectors_belong_to_the_caller(self, store: Embedder) -> None:
        """Changing a returned vector changes no other, now or later."""
        text = TEXTS["a sentence"]
        first, second = await store.embed([text, text], purpose="document")
        kept = array("f", second)
        first[0] += 1.0
        (later,) = await store.embed([text], purpose="document")
        assert kept == second
        assert farthest(kept, later) <= SAME

    # The call.

    @pytest.mark.asyncio
    async def test_no_texts_give_no_vectors(self, store: Embedder) -> None:
        """An empty sequence gives an empty list."""
        assert [await store.embed([], purpose=purpose) for purpose in _PURPOSES] == [[], []]

    @pytest.mark.asyncio
    async def test_many_texts_give_as_many_vectors_in_order(self, store: Embedder) -> None:
        """There is no limit on the number of texts, and the order is theirs."""
        texts = [f"{i} {'boats ' * (i * 7 % 13)}on the canal" for i in range(_MANY)]
        vectors = await store.embed(tuple(texts), purpose="document")
        assert len(vectors) == _MANY
        for i in (0, 1, 99, 100, 101, 255, 256, _MANY - 1):
            (alone,) = await store.embed([texts[i]], purpose="document")
            assert farthest(alone, vectors[i]) <= SAME, i

    @pytest.mark.asyncio
    async def test_texts_are_those_of_the_moment_of_the_call(self, store: Any) -> None:
        """A generator loses none of its texts, and a list that changes meanwhile changes nothing."""
        texts = ["river", "bridge"]
        expected = await store.embed(texts, purpose="document")
        generated = await store.embed((text for text in texts), purpose="document")
        assert len(generated) == len(expected) == 2
        assert max(map(farthest, expected, generated)) <= SAME
        call = asyncio.create_task(store.embed(texts, purpose="document"))
        await asyncio.sleep(0)
        texts[:] = ["canal"]
        assert max(map(farthest, expected, await call)) <= SAME

    @pytest.mark.asyncio
    async def test_the_limits_of_a_request_are_counts(self, harness: Harness) -> None:
        """``embedder.batch`` and ``embedder.calls``, where they are declared, are at least 1, open or not."""
        made = harness.make()
        before = {name: made.capabilities.limits.get(name) for name in _LIMITS}
        assert [limit for limit in before.values() if limit is not None and (type(limit) is not int or limit < 1)] == []
        async with await harness.started() as store:
            assert before == {name: store.capabilities.limits.get(name) for name in _LIMITS}

    @pytest.mark.asyncio
    async def test_a_call_may_be_larger_than_a_request(self, store: Embedder) -> None:
        """Just below, at and above ``embedder.batch`` texts, each text gets its own vector."""
        batch = store.capabilities.limits.get("embedder.batch", 0)
        if not 0 < batch <= _MANY:
            pytest.skip(f"not claimed: a limit of at most {_MANY} texts a request")
        texts = [f"boat {i}" for i in range(batch + 1)]
        whole = await store.embed(texts, purpose="document")
        for count in {max(batch - 1, 1), batch}:
            part = await store.embed(texts[-count:], purpose="document")
            assert count == len(part)
            assert max(map(farthest, whole[-count:], part)) <= SAME

    @pytest.mark.asyncio
    async def test_a_blank_text_is_refused_by_its_position(self, store: Embedder) -> None:
        """Blank texts say nothing and are refused, with the position in the message; the next call is served."""
        for blank in BLANK:
            with pytest.raises(InvalidArgument, match=r"\b2\b"):
                await store.embed(["river", "bridge", blank], purpose="document")
        assert len(await store.embed(["river"], purpose="document")) == 1

    @pytest.mark.asyncio
    async def test_what_is_no_list_of_texts_is_refused(self, store: Any) -> None:
        """A single text, a lone surrogate, bytes, None and an unknown purpose are ``InvalidArgument``."""
        for texts, purpose in WRONG_CALLS:
            with pytest.raises(InvalidArgument):
                await store.embed(texts, purpose=purpose)

    @pytest.mark.asyncio
    async def test_calls_at_the_same_time_do_not_mix(self, store: Embedder) -> None:
        """Each of several calls that overlap gets its own vectors."""
        batches = [[f"boat {i}-{j}" for j in range(1 + i % 4)] for i in range(12)]
        found = await asyncio.gather(*(store.embed(batch, purpose="document") for batch in batches))
        for batch, vectors in zip(batches, found, strict=True):
            alone = [(await store.embed([text], purpose="document"))[0] for text in batch]
            assert max(map(farthest, alone, vectors)) <= SAME

    @pytest.mark.asyncio
    async def test_a_cancelled_call_hurts_no_other(self, store: Embedder) -> None:
        """A caller who gives up gets ``CancelledError``, and others are served."""
        (expected,) = await store.embed([TEXTS["a sentence"]], purpose="document")
        given_up = asyncio.create_task(store.embed(list(TEXTS.values()), purpose="document"))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        (vector,) = await store.embed([TEXTS["a sentence"]], purpose="document")
        assert farthest(expected, vector) <= SAME

    @pytest.mark.asyncio
    async def test_the_event_loop_goes_on_meanwhile(self, store: Embedder) -> None:
        """Other tasks get their turns while texts are embedded: most of the time, in one of three attempts at least."""
        gap, elapsed, count = 0.0, 0.0, 1
        while elapsed < 0.2 and count <= 4096:
            count *= 4
            gap, elapsed = await _longest_gap(store, count)
        for _ in range(2):
            if gap > elapsed / 2:
                gap, elapsed = await _longest_gap(store, count)
        assert elapsed < 0.2 or gap <= elapsed / 2


async def _longest_gap(store: Embedder, count: int) -> tuple[float, float]:
    """How long another task waits for its turn at most while ``count`` texts are embedded, and how long that takes."""
    texts = [f"{i} {TEXTS['a long text'][:800]}" for i in range(count)]
    turns = [time.perf_counter()]

    async def take_turns() -> None:
        while True:
            await asyncio.sleep(0.001)
            turns.append(time.perf_counter())

    other = asyncio.create_task(take_turns())
    vectors = await store.embed(texts, purpose="document")
    turns.append(time.perf_counter())
    other.cancel()
    assert count == len(vectors)
    return max(after - before for before, after in pairwise(turns)), turns[-1] - turns[0]
