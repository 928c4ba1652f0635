"""The state machine that drives a vector index and the reference with one trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, ClassVar, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from storycore.filters import F, to_dict
from storycore.ports.capabilities import Durability
from storycore.ports.filters import And, Filter, Not, Or
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Metric, TextQuery, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine, outcome
from storycore.testing.vector_examples import DIMENSION, found, vector
from storycore.testing.vector_oracle import agree
from storycore.testing.vector_strategies import CHANGES, FIELDS, FILTERS, IDS, ITEMS, PHRASES, SPACES, VECTORS, WILD

__all__ = ["machine_for"]

_WHERE = st.none() | FILTERS
_CHANGED = st.tuples(CHANGES, st.sets(FIELDS, max_size=2)).filter(lambda pair: not pair[1] & pair[0].keys())
"""What an update sets and what it removes."""
_TEXT_WITHIN = 1e-6


def machine_for(harness: Harness) -> type[VectorMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("VectorMachineRun", (VectorMachine,), {"origin": harness})


class VectorMachine(StoreMachine):
    """Calls of every kind on both indexes; what they answer, and how they fail, is the same."""

    origin: ClassVar[Harness]

    @initialize(metric=st.sampled_from(get_args(Metric)), first=st.lists(ITEMS, min_size=6, max_size=10))
    def begin(self, metric: Metric, first: list[VectorItem]) -> None:
        """Open both indexes in empty places, and store something."""
        self.metric = metric
        self.harness = self.origin.fresh()
        reference = Harness(PortName.VECTORS, "memory", {"dimension": DIMENSION}, self.harness.path)
        self.subject: VectorIndex = self.run(self.harness.started(metric=metric))
        self.model: VectorIndex = self.run(reference.started(metric=metric))
        has = self.subject.capabilities.has
        self.is_exact = metric != "cosine" and has("vectors.exact")
        self.is_atomic, self.is_typed = has("vectors.atomic"), has("vectors.field_types")
        self.has_text = has("vectors.text")
        self.upserted(first, "default")

    @rule(items=st.lists(ITEMS, max_size=6), namespace=SPACES)
    def upsert(self, items: list[VectorItem], namespace: str) -> None:
        """As many distinct items are written, or the same conflict is met."""
        self.upserted(items, namespace)

    @rule(id_=IDS, values=st.none() | VECTORS, changed=_CHANGED, space=SPACES)
    def update(self, id_: str, values: Any, changed: Any, space: str) -> None:
        """The same update succeeds, or fails with the same error."""
        added, removed = changed
        if self.run(self.model.fetch([id_], namespace=space)) == [None]:
            added = {}  # which of two errors is met first is left open
        self.written(
            lambda store: store.update(
                id_, values=values, set=self.allowed(added), unset=sorted(removed), namespace=space
            )
        )

    @rule(where=FILTERS, changed=_CHANGED, namespace=SPACES, is_done=st.booleans())
    def update_where(self, where: Filter, changed: Any, namespace: str, is_done: bool) -> None:
        """The same number of items is changed, rehearsed and done."""
        added, removed = self.allowed(changed[0]), sorted(changed[1])
        known = {key: value for key, value in added.items() if key != WILD}
        rehearsed = self.rehearsed(
            lambda store: store.update_where(where, set=known, unset=removed, namespace=namespace, dry_run=True)
        )
        if rehearsed and is_done:  # whether a write to nothing fixes a type is left open
            self.written(lambda store: store.update_where(where, set=added, unset=removed, namespace=namespace))

    @rule(ids=st.lists(IDS, max_size=3), namespace=SPACES, first=st.booleans())
    def delete_ids(self, ids: list[str], namespace: str, first: bool) -> None:
        """The same number of items goes, rehearsed and done."""
        self.deleted(first, namespace, ids=ids)

    @rule(where=FILTERS, namespace=SPACES, first=st.booleans())
    def delete_where(self, where: Filter, namespace: str, first: bool) -> None:
        """The same number of items goes, rehearsed and done."""
        self.deleted(first, namespace, where=where)

    @rule(namespace=SPACES, first=st.booleans())
    def delete_all(self, namespace: str, first: bool) -> None:
        """The same number of items goes, rehearsed and done; types are forgotten."""
        self.deleted(first, namespace, all=True)

    @rule(values=VECTORS, where=_WHERE, top_k=st.integers(1, 6), namespace=SPACES, values_too=st.booleans())
    def query(self, values: Any, where: Filter | None, top_k: int, namespace: str, values_too: bool) -> None:
        """The same items are found with the same scores."""
        query = VectorQuery(values=values, where=where, top_k=top_k, namespace=namespace, include_values=values_too)
        for asked in (query, replace(query, top_k=2), replace(query, include_metadata=False)):
            self.compare(asked)

    @rule(id_=IDS, top_k=st.integers(1, 4), namespace=SPACES)
    def query_by_id(self, id_: str, top_k: int, namespace: str) -> None:
        """A stored vector finds the same items, an unknown id fails alike."""
        self.compare(VectorQuery(id=id_, top_k=top_k, namespace=namespace))

    @rule(values=VECTORS, least=st.integers(-8, 8), namespace=SPACES)
    @precondition(lambda self: getattr(self, "is_exact", False))
    def query_min_score(self, values: Any, least: int, namespace: str) -> None:
        """The bound lets the same items through."""
        self.compare(VectorQuery(values=values, min_score=least, namespace=namespace))

    @rule(text=PHRASES, where=_WHERE, top_k=st.integers(1, 6), namespace=SPACES)
    @precondition(lambda self: getattr(self, "has_text", False))
    def search_text(self, text: str, where: Filter | None, top_k: int, namespace: str) -> None:
        """The same items are found by words, with the same scores."""
        query = TextQuery(text=text, where=where, top_k=top_k, namespace=namespace)
        whole, _ = self.both(lambda store: store.search_text([replace(query, top_k=10_000)]))
        _, [subject] = self.both(lambda store: store.search_text([query]))
        known = {match.id: match.metadata for match in whole[0]}
        agree([(match.id, match.score) for match in whole[0]], subject, top_k, within=_TEXT_WITHIN)
        assert [known[match.id] for match in subject] == [match.metadata for match in subject]

    @rule(after=st.none() | IDS, limit=st.integers(1, 5), where=_WHERE, namespace=SPACES)
    def listings(self, after: str | None, limit: int, where: Filter | None, namespace: str) -> None:
        """Pages hold the same and end at the same place, items come back alike, and both count the same."""
        ids = [f"i{n}" for n in range(10)]
        model, subject = self.both(lambda store: store.fetch(ids, namespace=namespace))
        assert model == subject
        model, subject = self.both(
            lambda store: store.list_ids(prefix="i", after=after, limit=limit, namespace=namespace)
        )
        assert (list(model.ids), model.next is None) == (list(subject.ids), subject.next is None)
        model, subject = self.both(lambda store: store.scan(after=after, limit=limit, where=where, namespace=namespace))
        assert (list(model.items), model.next is None) == (list(subject.items), subject.next is None)
        model, subject = self.both(lambda store: store.stats())
        assert model.counts == subject.counts

    @rule(one=FILTERS, two=FILTERS, namespace=SPACES)
    def laws(self, one: Filter, two: Filter, namespace: str) -> None:
        """Not-not, De Morgan and the dict form hold over whatever is stored."""

        def chosen(where: Any) -> list[str]:
            return self.run(found(self.subject, where, namespace=namespace))

        assert chosen(one) == chosen(Not(Not(one))) == chosen(to_dict(one))
        assert chosen(Not(And((one, two)))) == chosen(Or((Not(one), Not(two))))

    @rule(items=st.lists(ITEMS, min_size=1, max_size=6), values=VECTORS, namespace=SPACES)
    @precondition(lambda self: getattr(self, "is_exact", False) and self.is_atomic)
    def read_while_writing(self, items: list[VectorItem], values: Any, namespace: str) -> None:
        """Whoever asks while a call writes sees the items before it or after it."""
        query = VectorQuery(values=values, top_k=8, namespace=namespace)
        written = [VectorItem(item.id, item.values, self.allowed(item.metadata, wild=False)) for item in items]
        before = self.run(self.model.query([query]))
        self.run(self.model.upsert(written, namespace=namespace))
        after = self.run(self.model.query([query]))

        async def together() -> list[Any]:
            reads = [self.subject.query([query]) for _ in range(3)]
            return await asyncio.gather(reads[0], self.subject.upsert(written, namespace=namespace), *reads[1:])

        first, _, *others = self.run(together())
        assert all(seen in (before, after) for seen in (first, *others))

    @rule()
    def optimize(self) -> None:
        """Whatever it does, the other rules will not notice."""
        self.run(self.subject.optimize())

    @rule()
    def reopen(self) -> None:
        """Closing and opening again changes nothing where durability is claimed."""
        if self.subject.capabilities.guarantees.durability is Durability.PROCESS:
            return
        self.run(self.subject.close())
        self.subject = self.run(self.harness.started(metric=self.metric))

    def teardown(self) -> None:
        """Compare everything, and close both indexes."""
        try:
            if hasattr(self, "model"):
                self.compare(VectorQuery(values=vector(1), top_k=10_000, where=F.x.exists() | ~F.x.exists()))
        finally:
            for store in (getattr(self, "subject", None), getattr(self, "model", None)):
                if store is not None:
                    self.run(store.close())
            super().teardown()

    def both(self, call: Callable[[VectorIndex], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        """What the reference and the subject answer."""
        return self.run(call(self.model)), self.run(call(self.subject))

    def allowed(self, metadata: Any, *, wild: bool = True) -> dict[str, Any]:
        """Metadata without what an index that does not hold types together would keep."""
        return {key: value for key, value in metadata.items() if key != WILD or (wild and self.is_typed)}

    def written(self, call: Callable[[VectorIndex], Coroutine[Any, Any, Any]]) -> None:
        """Both write as much, where it is told, or fail with the same error."""
        model, subject = self.both(lambda store: outcome(call(store)))
        if isinstance(model, type) or isinstance(subject, type):
            assert model == subject
        elif not isinstance(subject, str):
            self.same_counts(model, subject)

    def upserted(self, items: list[VectorItem], namespace: str) -> None:
        """Write the items to both."""
        allowed = [VectorItem(item.id, item.values, self.allowed(item.metadata)) for item in items]
        self.written(lambda store: store.upsert(allowed, namespace=namespace))

    def deleted(self, rehearse: bool, namespace: str, **selector: Any) -> None:
        """Run a delete on both, maybe rehearsed first, and compare the counts."""
        if rehearse:
            self.rehearsed(lambda store: store.delete(**selector, namespace=namespace, dry_run=True))
        self.written(lambda store: store.delete(**selector, namespace=namespace))

    def rehearsed(self, call: Callable[[VectorIndex], Coroutine[Any, Any, Any]]) -> int:
        """Both tell the same number, which a rehearsal always tells."""
        model, subject = self.both(call)
        assert model.count == subject.count
        return int(model.count)

    def same_counts(self, model: Any, subject: Any) -> None:
        """Upserts tell how many they wrote; other writes do where that is claimed."""
        for name in ("written", "count"):
            told = getattr(subject, name, None)
            assert told is None or getattr(model, name) == told

    def compare(self, query: VectorQuery) -> None:
        """Both answer alike: exactly, or where scores are rounded within what the port allows."""
        model, subject = self.both(lambda store: outcome(store.query([query])))
        if isinstance(model, type) or isinstance(subject, type) or self.is_exact:
            assert model == subject
        else:
            self.compare_rounded(query, subject[0])

    def compare_rounded(self, query: VectorQuery, subject: Any) -> None:
        """The same scores in the same order, each item with its own score and content."""
        [whole] = self.run(self.model.query([replace(query, top_k=10_000)]))
        agree([(match.id, match.score) for match in whole], subject, query.top_k)
        known = {match.id: match for match in whole}
        for match in subject:
            expected = known[match.id]
            assert (expected.metadata, expected.values) == (match.metadata, match.values)
            assert match.score == pytest.approx(expected.score, rel=1e-5, abs=1e-5)
