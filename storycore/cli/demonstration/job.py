"""The job of the demonstration: create, ingest, ask, save, list and back up, over any profile."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from storycore.cli.demonstration.keeping import keep
from storycore.cli.demonstration.outcome import Answer, Demonstration, Ingested
from storycore.cli.demonstration.questions import questions_of
from storycore.cli.demonstration.samples import READER, WRITER
from storycore.cli.demonstration.stories import tell_stories
from storycore.cli.places import places
from storycore.corpus import QUESTIONS, richmond

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.ingestion import Progress, Report

__all__ = ["demonstrate"]

_HITS = 2


async def demonstrate(
    store: Store, docs: Path | None, *, options: str, progress: Callable[[Progress], None]
) -> Demonstration:
    """Do everything once; a second time only does what has changed.

    Args:
        docs: a folder or file of documents; ``None``: the documents on Richmond that come with storycore.
        options: what a command line needs to reach the same store, for the suggestions at the end.
        progress: told how far ingestion is.

    Raises:
        StorycoreError: whatever a port refuses.
    """
    begun = time.perf_counter()
    created = await store.init(warm_cache=False)
    begun_ingesting = time.perf_counter()
    report = await store.ingest(docs or richmond(), progress=progress)
    took = time.perf_counter() - begun_ingesting
    indexed = (await store.vectors.stats()).total
    ingested = _ingested(docs, report, seconds=took, indexed=indexed, options=options)
    questions = await _questions(store, docs, report)
    answers = [await _ask(store, question) for question in questions]
    stories = await tell_stories(store)
    return Demonstration(
        profile=store.profile.name,
        semantic=store.embedder.spec.semantic,
        created=created.actions,
        ingested=ingested,
        answers=answers,
        stories=stories,
        backup=await keep(store),
        places=places(store),
        next_steps=_next_steps(options, questions),
        seconds=round(time.perf_counter() - begun, 2),
    )


def _ingested(docs: Path | None, report: Report, *, seconds: float, indexed: int, options: str) -> Ingested:
    return Ingested(
        source=str(docs) if docs else "Richmond, Virginia (they come with storycore)",
        documents=report.documents,
        embedded=report.chunks_embedded,
        indexed=indexed,
        seconds=round(seconds, 2),
        problems=[
            *(f"{failure.uri}: {failure.error}" for failure in report.failed),
            *(f"{skipped.uri}: {skipped.reason}" for skipped in report.skipped),
            *([_kept(docs, report, options)] if report.withheld else []),
        ],
    )


def _kept(docs: Path | None, report: Report, options: str) -> str:
    """Why documents that are gone were kept, and the cure."""
    if not report.complete:
        return report.withheld_reason
    command = f"storycore ingest {shlex.quote(str(docs or richmond()))} --yes{options}"
    return f"{len(report.withheld)} documents are gone but were kept; if that is right, `{command}` removes them"


async def _questions(store: Store, docs: Path | None, report: Report) -> list[str]:
    if docs is None:
        return [question.text for question in QUESTIONS]
    return await questions_of(store, sorted([*report.added, *report.changed, *report.unchanged]))


async def _ask(store: Store, question: str) -> Answer:
    begun = time.perf_counter()
    hits = await store.search(question, top_k=_HITS)
    return Answer(question, hits, round((time.perf_counter() - begun) * 1000, 1))


def _next_steps(options: str, questions: Sequence[str]) -> list[str]:
    question = min(questions, key=len, default="river trade")
    return [
        f"storycore search {shlex.quote(question)}{options}",
        f"storycore ingest PATH{options}",
        f"storycore list story --user {WRITER}{options}",
        f"storycore get user {READER}{options}",
        f"storycore backup list{options}",
        f"storycore stats{options}",
        "storycore --help",
    ]
