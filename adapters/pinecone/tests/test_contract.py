"""The VectorIndex contract on Pinecone's local server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from storycore_pinecone.testing import server

from storycore.testing.vectors import VectorIndexSuite


class TestPineconeVectorIndex(VectorIndexSuite):
    """The VectorIndex contract through the vendor's client."""

    adapter = "pinecone"


@pytest.fixture(scope="module")
def late_service() -> Iterator[Mapping[str, object]]:
    """A service that shows each write 5 ms late, and does otherwise what may be done in two ways."""
    with server(knobs={"visible_after_ms": 5, "missing": "include", "euclidean": "root"}) as settings:
        yield settings


@pytest.mark.slow
class TestLatePineconeVectorIndex(VectorIndexSuite):
    """The same on a service whose reads lag."""

    adapter = "pinecone"

    @pytest.fixture(name="served")
    def settings_of_the_server(self, late_service: Mapping[str, object]) -> Mapping[str, object]:
        """The late service instead of the usual one."""
        return late_service
