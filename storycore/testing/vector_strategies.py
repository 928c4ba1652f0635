"""What Hypothesis draws for a vector index: items on a small grid, metadata with conflicts, filters of every shape."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or
from storycore.ports.vectors import VectorItem
from storycore.testing.vector_examples import DIMENSION

__all__ = ["CHANGES", "FIELDS", "FILTERS", "IDS", "ITEMS", "PHRASES", "SPACES", "VECTORS", "WILD"]

WILD: Final = "w"
"""The field that is written with values of any type; all others keep to one."""

IDS = st.sampled_from([f"i{n}" for n in range(10)])
SPACES = st.sampled_from(["default", "default", "n2"])
VECTORS = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).filter(any)
"""Vectors on a small grid of whole numbers, so that ties are frequent, and exact for dot and euclidean."""

PHRASES = st.lists(st.sampled_from(["fire", "river", "mill", "Fire", "the", '"']), max_size=4).map(" ".join)
FIELDS = st.sampled_from(["x", "y", "b", "text", WILD])

_NUMBERS = st.sampled_from([0, 1, 1.5, 2, -1])
_TEXTS = st.sampled_from(["", "a", "b"]) | st.lists(st.sampled_from(["a", "b", "c"]), max_size=2)
_SCALARS = st.sampled_from([0, 1, 1.5, 2, -1, True, False, "", "a", "b"])
_KNOWN = {"x": _NUMBERS, "y": _TEXTS, "b": st.booleans(), "text": PHRASES}
_TYPED = st.fixed_dictionaries({}, optional=_KNOWN)
_WILD = st.fixed_dictionaries({}, optional={**_KNOWN, WILD: _NUMBERS | _TEXTS | st.booleans()})

CHANGES = st.one_of(_TYPED, _TYPED, _WILD)
"""Metadata; one in three may have the wild field."""

ITEMS = st.builds(VectorItem, id=IDS, values=VECTORS, metadata=CHANGES)

FILTERS: st.SearchStrategy[Filter] = st.recursive(
    st.builds(Eq, FIELDS, _SCALARS)
    | st.builds(In, FIELDS, st.lists(_SCALARS, max_size=3).map(tuple))
    | st.builds(Compare, FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1, 0, 1, 1.5, 2]))
    | st.builds(Exists, FIELDS),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=5,
)
