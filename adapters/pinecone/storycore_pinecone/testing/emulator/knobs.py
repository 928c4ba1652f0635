"""What a test can turn while the server runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from .settings import checked

__all__ = ["Knobs"]

_CHOICES: Final[Mapping[str, tuple[object, ...]]] = {
    "missing": ("exclude", "include"),
    "euclidean": ("squared", "root"),
    "lsn_headers": ("documented", "vectors", "none"),
    "delete_in_unknown_namespace": ("refuse", "ignore"),
}


@dataclass(frozen=True, slots=True)
class Knobs:
    """How the emulated service behaves.

    Attributes:
        visible_after_reads: how many reads of a namespace do not show a write yet.
        visible_after_ms: how long, in milliseconds, no read shows a write.
        ready_after_describes: how many descriptions of a new index say that it is not ready.
        gone_after_describes: how many descriptions of a deleted index still find it.
        missing: whether ``$ne`` and ``$nin`` hold for a record without the field; the service was reported both ways.
        euclidean: whether a score is the squared distance or its root.
        lsn_headers: names of the headers with positions in the log: those of the documentation, those that the SDK
            tells of the vectors API, or none at all.
        lsn_reads: which reads carry the position that they show. The documentation names queries.
        shuffle_ties: whether records of equal score come in any order.
        delete_in_unknown_namespace: whether a delete in a namespace that never was is refused.
        latency_ms: how long, in milliseconds, each answer takes.
        requests_per_second: of one operation in one namespace; 0: no limit. The service has 100.
    """

    visible_after_reads: int = 0
    visible_after_ms: float = 0.0
    ready_after_describes: int = 0
    gone_after_describes: int = 0
    missing: Literal["exclude", "include"] = "exclude"
    euclidean: Literal["squared", "root"] = "squared"
    lsn_headers: Literal["documented", "vectors", "none"] = "documented"
    lsn_reads: tuple[str, ...] = ("query",)
    shuffle_ties: bool = True
    delete_in_unknown_namespace: Literal["refuse", "ignore"] = "refuse"
    latency_ms: float = 0.0
    requests_per_second: int = 0

    def turned(self, changes: Mapping[str, object]) -> Knobs:
        """The same with some turned.

        Raises:
            Refusal: there is no such knob, or it cannot be turned there.
        """
        return replace(self, **checked(Knobs, changes, _CHOICES))
