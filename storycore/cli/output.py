"""Where results go: to stdout, as text for people or as one JSON document. Progress goes to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING

import orjson
from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["console", "counted", "escape", "human_bytes", "plain", "print_json", "show", "table"]

_STEP = 1024
_UNBROKEN = 100_000  # columns
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr: coloured on a terminal; elsewhere plain text, whose lines are never broken.

    A program that reads a path or an error from a pipe or a log finds it whole. ``COLUMNS`` sets a width everywhere.
    """
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would leave with status 1 on its own

    made = PipedConsole(stderr=stderr, highlight=False)
    if not (made.is_terminal or "COLUMNS" in os.environ):
        made.width = _UNBROKEN
    return made


def print_json(value: object) -> None:
    """Print one JSON document in UTF-8, whatever the terminal's encoding; models, paths, sets and decimals included."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(value, default=plain, option=options))
    sys.stdout.buffer.flush()


def plain(value: object) -> object:
    """A value that JSON does not know, as one that it does.

    Raises:
        TypeError: there is no such form.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        named = getattr(value, "_asdict", None)
        return list(value) if named is None else named()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (PurePath, Decimal)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def escape(text: str) -> str:
    """A text that is shown as it is: no markup, and no signs that would steer the terminal (``\\x1b``)."""
    from rich.markup import escape as without_markup

    return without_markup(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text))


def table(*columns: str, title: str | None = None) -> Table:
    """A calm table that also reads well without colour and at 80 columns."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def show(*renderables: RenderableType) -> None:
    """Print to stdout."""
    out = console()
    for each in renderables:
        out.print(each)


def counted(count: int, things: str) -> str:
    """So many things, named in the plural: ``counted(1, "entities")`` is ``"1 entity"``."""
    if count == 1:
        things = f"{things.removesuffix('ies')}y" if things.endswith("ies") else things.removesuffix("s")
    return f"{count} {things}"


def human_bytes(size: int) -> str:
    """A size as people read it: ``"1.5 MiB"``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _STEP:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} TiB"
