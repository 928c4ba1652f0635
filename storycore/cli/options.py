"""The options that every command has, and what they stand for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from storycore.opening import Opening
    from storycore.profiles import Profile

__all__ = ["Common", "FilledPath", "Moment", "common_options"]

F = TypeVar("F", bound=Callable[..., Any])


class FilledPath(click.Path):
    """A path that is not empty: an unset variable of a shell must not stand for the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; click's own words where it is empty."""
        if not value:
            self.fail("The path is empty.", param, ctx)
        return super().convert(value, param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs of new versions alone
    """A moment with its time zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment; click's own words where it is none."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment; write it like 2026-11-22T14:03:07Z.", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; write it like 2026-11-22T14:03:07Z.", param, ctx)
        return moment


@dataclass(frozen=True, slots=True)
class Common:
    """What was said by ``--json``, ``--profile`` and ``--dir``."""

    as_json: bool = False
    profile: str | None = None
    dir: str | None = None

    def load(self) -> Profile:
        """The profile that was asked for."""
        from storycore.profiles import load

        return load(self.profile, overrides=None if self.dir is None else {"dir": self.dir})

    def open(self) -> Opening:
        """The store that was asked for, to be entered."""
        import storycore

        return storycore.open(self.load())


def common_options(function: F) -> F:
    """Add ``--json``, ``--profile`` and ``--dir``, handed over together as the first argument."""

    @functools.wraps(function)
    def wrapper(*, as_json: bool, profile: str | None, folder: str | None, **options: Any) -> Any:
        return function(Common(as_json, profile, folder), **options)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document."),
        click.option("--profile", metavar="NAME", help="A profile's name, or the path of a storycore.toml."),
        click.option("--dir", "folder", metavar="FOLDER", help="The folder that holds the data of a local layer."),
    ):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]  # the options change the signature that click sees, not the caller's
