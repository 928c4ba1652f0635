"""The demonstration, told to people: calm, and readable at 80 columns without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.constrain import Constrain
from rich.padding import Padding
from rich.rule import Rule

from storycore.cli.output import console, counted, escape, human_bytes, table
from storycore.cli.passages import passage
from storycore.cli.places import places_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from storycore.cli.demonstration.outcome import Answer, Backed, Demonstration, Ingested, Stories

__all__ = ["tell"]

_RULE = 80  # columns; a pipe has no width


def tell(outcome: Demonstration) -> None:
    """Print everything to stdout."""
    search = "search by meaning" if outcome.semantic else "search by words (this embedder knows no meaning)"
    chapters: list[tuple[str, Sequence[RenderableType]]] = [
        ("a data layer", _created(outcome)),
        ("documents", _ingested(outcome.ingested)),
        (search, _answers(outcome.answers)),
        ("users, sessions, templates, stories", _stories(outcome.stories)),
        ("a backup, and a mistake undone", _backed(outcome.backup)),
        ("what is where", [places_table(outcome.places)]),
    ]
    out = console()
    for number, (title, lines) in enumerate(chapters, 1):
        out.print(_heading(number, title))
        out.print(*lines, "", sep="\n")
    out.print(_heading(len(chapters) + 1, "what to try next"))
    for step in outcome.next_steps:
        out.print(f"  {escape(step)}", soft_wrap=True)
    out.print(f"\nDone in {outcome.seconds:.1f} s.")


def _heading(number: int, title: str) -> RenderableType:
    return Constrain(Rule(f"[bold]{number}  {title}[/]", align="left", style="dim"), width=_RULE)


def _created(outcome: Demonstration) -> list[RenderableType]:
    actions = [f"{port}: {escape(action)}" for port, done in outcome.created.items() for action in done]
    return [f"Profile [bold]{escape(outcome.profile)}[/].", *_indented(actions or ["Nothing was missing."])]


def _ingested(done: Ingested) -> list[RenderableType]:
    if done.embedded:
        embedded = counted(done.embedded, "passages")
        sentence = f"{embedded} embedded in {done.seconds:.1f} s; the index holds {done.indexed}."
    else:
        sentence = f"Nothing has changed: nothing was embedded. The index holds {counted(done.indexed, 'passages')}."
    problems = [f"[yellow]left out:[/] {escape(problem)}" for problem in done.problems]
    documents = counted(done.documents, "documents")
    return [f"{documents} of [bold]{escape(done.source)}[/].", *_indented([sentence, *problems])]


def _answers(answers: Sequence[Answer]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for answer in answers:
        lines += ["", f"[bold cyan]{escape(answer.question)}[/]"]
        lines += [passage(place, hit) for place, hit in enumerate(answer.hits, 1)] or ["nothing was found"]
    return lines[1:] or ["The documents have no headings to ask about."]


def _stories(done: Stories) -> list[RenderableType]:
    saved = ", ".join(f"{count} {kind}" for kind, count in done.saved.items())
    made = table("listing", "titles")
    for listed in done.listings:
        more = "\n[dim]… and more, behind a cursor[/]" if listed.cursor else ""
        made.add_row(escape(listed.what), escape("\n".join(listed.titles)) + more)
    reads = [f"{read.milliseconds:.2f} ms from the {escape(read.answered_by)}" for read in done.reads]
    return [
        f"Saved {saved}.",
        f"Published [bold]{escape(done.published)}[/], exported as the blob {escape(done.exported)}.",
        made,
        f"The same story read twice: {', then '.join(reads)}.",
    ]


def _backed(done: Backed | str) -> list[RenderableType]:
    if isinstance(done, str):
        return [f"[yellow]Left out:[/] {escape(done)}"]
    items = ", ".join(f"{port}: {count}" for port, count in done.items.items())
    what = "All of it" if done.is_full else "What has changed"
    proof = "found to be the same" if done.is_whole else "[red]found to be different[/]"
    back = "is back" if done.was_gone and done.is_back else "[red]is not back[/]"
    return [
        f"{what} was backed up in {done.seconds:.1f} s: {human_bytes(done.size_bytes)}, encrypted ({items}).",
        f"It was restored into an empty store, and {proof}, in {done.verify_seconds:.1f} s.",
        f"Then [bold]{escape(done.deleted)}[/] was deleted; the stories of the moment before were restored, and it "
        f"{back}.",
        *_indented([f"[yellow]{escape(notice)}[/]" for notice in done.notices]),
    ]


def _indented(lines: Sequence[str]) -> list[RenderableType]:
    return [Padding(line, (0, 0, 0, 2), expand=False) for line in lines]
