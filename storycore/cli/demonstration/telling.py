"""The demonstration, told to people: calm, and readable at 80 columns without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.rule import Rule

from storycore.cli.output import console, human_bytes, table
from storycore.cli.passages import passage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from storycore.cli.demonstration.outcome import Answer, Demonstration, Ingested, Place, Stories

__all__ = ["tell"]


def tell(outcome: Demonstration) -> None:
    """Print everything to stdout."""
    chapters: list[tuple[str, Sequence[RenderableType]]] = [
        ("a data layer", _created(outcome)),
        ("documents", _ingested(outcome.ingested)),
        ("search by meaning", _answers(outcome.answers)),
        ("users, sessions, templates, stories", _stories(outcome.stories)),
        ("what is where", _places(outcome.places)),
        ("what to try next", _next_steps(outcome)),
    ]
    out = console()
    for number, (title, lines) in enumerate(chapters, 1):
        out.print(Rule(f"[bold]{number}  {title}[/]", align="left", style="dim"))
        for line in lines:
            out.print(line)
        out.print()


def _created(outcome: Demonstration) -> list[str]:
    actions = [f"  {port}: {escape(action)}" for port, done in outcome.created.items() for action in done]
    return [f"Profile [bold]{escape(outcome.profile)}[/].", *(actions or ["  Everything was there already."])]


def _ingested(done: Ingested) -> list[str]:
    lines = [f"{done.documents} documents of [bold]{escape(done.source)}[/]"]
    if done.embedded:
        lines.append(f"  {done.embedded} passages embedded in {done.seconds:.1f} s, {done.kept} were there already.")
    else:
        lines.append(f"  Nothing has changed: nothing was embedded, all {done.kept} passages were there already.")
    return [*lines, *(f"  [yellow]not read:[/] {escape(problem)}" for problem in done.problems)]


def _answers(answers: Sequence[Answer]) -> list[str]:
    lines: list[str] = []
    for answer in answers:
        lines.append(f"[bold cyan]{escape(answer.question)}[/] [dim]{answer.milliseconds:.0f} ms[/]")
        lines += [passage(place, hit) for place, hit in enumerate(answer.hits, 1)] or ["   nothing was found"]
        lines.append("")
    return lines[:-1]


def _stories(done: Stories) -> list[RenderableType]:
    saved = ", ".join(f"{count} {kind}" for kind, count in done.saved.items())
    lines: list[RenderableType] = [f"Saved {saved}. Published [bold]{escape(done.published)}[/]."]
    made = table("listing", "titles")
    for listed in done.listings:
        more = "\n[dim]… and more, behind a cursor[/]" if listed.cursor else ""
        made.add_row(escape(listed.what), escape("\n".join(listed.titles)) + more)
    lines.append(made)
    reads = [f"{read.milliseconds:.2f} ms from the {escape(read.answered_by)}" for read in done.reads]
    lines.append(f"The same story read twice: {', then '.join(reads)}.")
    return lines


def _places(places: Sequence[Place]) -> list[RenderableType]:
    made = table("port", "adapter", "place", "size")
    for each in places:
        size = "" if each.size_bytes is None else human_bytes(each.size_bytes)
        made.add_row(each.port, each.adapter, escape(each.place or "in this process"), size)
    return [made]


def _next_steps(outcome: Demonstration) -> list[str]:
    return [*(f"  {escape(step)}" for step in outcome.next_steps), "", f"[dim]Done in {outcome.seconds:.1f} s.[/]"]
