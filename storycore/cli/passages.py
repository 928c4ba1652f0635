"""How a found passage looks: score, source, place and snippet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from storycore.cli.output import escape
from storycore.ports.words import distinct_words, words

if TYPE_CHECKING:
    from storycore.search import Hit

__all__ = ["passage"]

_INDENT = (0, 0, 0, 3)


def passage(place: int, hit: Hit) -> RenderableType:
    """A hit in a few lines, numbered; what is behind the first line is indented."""
    where = f" [dim]{hit.start}-{hit.end}[/]" if hit.start >= 0 else ""
    head = f"[bold]{place}.[/] [green]{_score(hit)}[/] [bold]{escape(hit.source)}[/]{where}"
    heading = _heading(hit)
    below: list[RenderableType] = [f"[italic]{escape(heading)}[/]"] if heading else []
    return Group(head, *(Padding(line, _INDENT, expand=False) for line in [*below, _snippet(hit)]))


def _snippet(hit: Hit) -> Text:
    """The snippet, with the words that were looked for in bold."""
    wanted = {text for start, end in hit.highlights for text in distinct_words(hit.text[start:end])}
    line = Text.from_markup(escape(hit.snippet))
    for word in words(line.plain):
        if word.text in wanted:
            line.stylize("bold", word.start, word.end)
    return line


def _score(hit: Hit) -> str:
    """The score, with a fourth digit where it is a sum of reciprocal ranks, which are close together."""
    is_fused = hit.parts.fused is not None and hit.parts.reranked is None
    return f"{hit.score:.4f}" if is_fused else f"{hit.score:.3f}"


def _heading(hit: Hit) -> str:
    """Title and section, the title once where the section repeats it."""
    names = [hit.title] if hit.title and not hit.section.startswith(hit.title) else []
    return " › ".join([*names, *(part for part in hit.section.split(" > ") if part)])
