"""The state machine that drives a vector index and the reference with one trace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from storycore.filters import F
from storycore.ports.capabilities import Durability
from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, Metric, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine, outcome
from storycore.testing.vector_examples import DIMENSION

__all__ = ["machine_for"]

_IDS = st.sampled_from([f"i{n}" for n in range(10)])
_SPACES = st.sampled_from(["default", "default", "n2"])
_VECTORS = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).filter(any)
_FIELDS = st.sampled_from(["x", "y", "z"])
_SCALARS = st.sampled_from([0, 1, 1.5, 2, -1, True, False, "", "a", "b"])
_VALUES = _SCALARS | st.lists(st.sampled_from(["a", "b", "c"]), max_size=2)
_METADATA = st.dictionaries(_FIELDS, _VALUES, max_size=3)
_ITEMS = st.builds(VectorItem, id=_IDS, values=_VECTORS, metadata=_METADATA)
_FILTERS: st.SearchStrategy[Filter] = st.recursive(
    st.builds(Eq, _FIELDS, _SCALARS)
    | st.builds(In, _FIELDS, st.lists(_SCALARS, max_size=3).map(tuple))
    | st.builds(Compare, _FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1, 0, 1, 1.5, 2]))
    | st.builds(Exists, _FIELDS),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=5,
)
_WHERE = st.none() | _FILTERS


def machine_for(harness: Harness) -> type[VectorMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("VectorMachineRun", (VectorMachine,), {"origin": harness})


class VectorMachine(StoreMachine):
    """Vectors lie on a small grid of whole numbers, so that ties are frequent and exact for dot and euclidean."""

    origin: ClassVar[Harness]

    @initialize(metric=st.sampled_from(get_args(Metric)))
    def begin(self, metric: Metric) -> None:
        """Open both indexes in empty places."""
        self.metric = metric
        self.harness = self.origin.fresh()
        reference = Harness(PortName.VECTORS, "memory", {"dimension": DIMENSION}, self.harness.path)
        self.subject: VectorIndex = self.run(self.harness.started(metric=metric))
        self.model: VectorIndex = self.run(reference.started(metric=metric))
        self.is_exact = metric != "cosine" and self.subject.capabilities.has("vectors.exact")

    @rule(items=st.lists(_ITEMS, max_size=6), namespace=_SPACES)
    def upsert(self, items: list[VectorItem], namespace: str) -> None:
        """As many distinct items are written."""
        model, subject = self.both(lambda store: store.upsert(items, namespace=namespace))
        assert model.written == subject.written

    @rule(id_=_IDS, values=st.none() | _VECTORS, changes=_METADATA, unset=st.lists(_FIELDS, max_size=2), space=_SPACES)
    def update(self, id_: str, values: Any, changes: dict[str, Any], unset: list[str], space: str) -> None:
        """The same update succeeds, or fails with the same error."""

        async def call(store: VectorIndex) -> object:
            got = await outcome(store.update(id_, values=values, set=changes, unset=unset, namespace=space))
            return got if isinstance(got, type) else "updated"

        model, subject = self.both(call)
        assert model == subject

    @rule(ids=st.lists(_IDS, max_size=3), namespace=_SPACES)
    def delete_ids(self, ids: list[str], namespace: str) -> None:
        """The same number of items goes."""
        self.deleted(lambda store: store.delete(ids=ids, namespace=namespace))

    @rule(where=_FILTERS, namespace=_SPACES)
    def delete_where(self, where: Filter, namespace: str) -> None:
        """The same number of items goes."""
        self.deleted(lambda store: store.delete(where=where, namespace=namespace))

    @rule(namespace=_SPACES)
    def delete_all(self, namespace: str) -> None:
        """The same number of items goes."""
        self.deleted(lambda store: store.delete(all=True, namespace=namespace))

    @rule(values=_VECTORS, where=_WHERE, top_k=st.integers(1, 6), namespace=_SPACES, full=st.booleans())
    def query(self, values: Any, where: Filter | None, top_k: int, namespace: str, full: bool) -> None:
        """The same items are found with the same scores."""
        query = VectorQuery(values=values, where=where, top_k=top_k, namespace=namespace, include_values=full)
        self.compare(query)

    @rule(id_=_IDS, top_k=st.integers(1, 4), namespace=_SPACES)
    def query_by_id(self, id_: str, top_k: int, namespace: str) -> None:
        """A stored vector finds the same items, an unknown id fails alike."""
        self.compare(VectorQuery(id=id_, top_k=top_k, namespace=namespace))

    @rule(values=_VECTORS, least=st.integers(-8, 8), namespace=_SPACES)
    @precondition(lambda self: getattr(self, "is_exact", False))
    def query_min_score(self, values: Any, least: int, namespace: str) -> None:
        """The bound lets the same items through."""
        self.compare(VectorQuery(values=values, min_score=least, namespace=namespace))

    @rule(ids=st.lists(_IDS, max_size=4), namespace=_SPACES)
    def fetch(self, ids: list[str], namespace: str) -> None:
        """The same items come back."""
        model, subject = self.both(lambda store: store.fetch(ids, namespace=namespace))
        assert model == subject

    @rule(after=st.none() | _IDS, limit=st.integers(1, 5), where=_WHERE, namespace=_SPACES)
    def listings(self, after: str | None, limit: int, where: Filter | None, namespace: str) -> None:
        """Pages hold the same, and end at the same place."""
        model, subject = self.both(
            lambda store: store.list_ids(prefix="i", after=after, limit=limit, namespace=namespace)
        )
        assert (list(model.ids), model.next is None) == (list(subject.ids), subject.next is None)
        model, subject = self.both(lambda store: store.scan(after=after, limit=limit, where=where, namespace=namespace))
        assert (list(model.items), model.next is None) == (list(subject.items), subject.next is None)

    @rule()
    def stats(self) -> None:
        """Both count the same."""
        model, subject = self.both(lambda store: store.stats())
        assert model.counts == subject.counts

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
        """Close both indexes."""
        if hasattr(self, "subject"):
            everything = VectorQuery(values=_axis(), top_k=10_000, where=F.x.exists() | ~F.x.exists())
            self.compare(everything)
            self.run(self.subject.close())
            self.run(self.model.close())
        super().teardown()

    def both(self, call: Callable[[VectorIndex], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        """What the reference and the subject answer."""
        return self.run(call(self.model)), self.run(call(self.subject))

    def deleted(self, call: Callable[[VectorIndex], Coroutine[Any, Any, Any]]) -> None:
        """Run a delete on both and compare the counts, where they are told."""
        model, subject = self.both(call)
        assert subject.count is None or model.count == subject.count

    def compare(self, query: VectorQuery) -> None:
        """Both answer alike: exactly, or where scores are rounded within what the port allows."""
        model, subject = self.both(lambda store: outcome(store.query([query])))
        if isinstance(model, type) or isinstance(subject, type) or self.is_exact:
            assert model == subject
        else:
            self.compare_rounded(query, model[0], subject[0])

    def compare_rounded(self, query: VectorQuery, model: list[Match], subject: list[Match]) -> None:
        """The same scores in the same order; each item has its own score, and at most its equals stand in for it."""
        close = pytest.approx([match.score for match in model], rel=1e-5, abs=1e-5)
        assert [match.score for match in subject] == close
        whole = self.run(self.model.query([_whole(query)]))[0]
        known = {match.id: match for match in whole}
        assert len({match.id for match in subject}) == len(subject)
        for match in subject:
            expected = known[match.id]
            assert match.score == pytest.approx(expected.score, rel=1e-5, abs=1e-5)
            assert (match.metadata, match.values) == (expected.metadata, expected.values)


def _whole(query: VectorQuery) -> VectorQuery:
    return VectorQuery(
        values=query.values,
        id=query.id,
        top_k=10_000,
        where=query.where,
        namespace=query.namespace,
        include_values=query.include_values,
    )


def _axis() -> Any:  # a plain list, which the checks above the port turn into a vector
    return [1.0] + [0.0] * (DIMENSION - 1)
