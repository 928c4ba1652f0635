"""How a found passage looks: score, source, place and snippet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from storycore.search import Hit

__all__ = ["passage"]


def passage(place: int, hit: Hit) -> str:
    """A hit in two or three lines of rich markup, numbered."""
    where = f"[dim]{hit.start}-{hit.end}[/]" if hit.start >= 0 else ""
    head = f"[bold]{place}.[/] [green]{hit.score:.3f}[/] [bold]{escape(hit.source)}[/] {where}".rstrip()
    names = dict.fromkeys(name for name in (hit.title, hit.section) if name)
    title = f"\n   [italic]{escape(' › '.join(names))}[/]" if names else ""
    return f"{head}{title}\n   {escape(hit.snippet)}"
