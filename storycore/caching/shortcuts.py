"""Shortcuts to a hit: generated functions whose body is one look into memory.

A decorated function's shortcut has its parameters, a region's has those of the template. Everything that is not a
plain hit goes the long way, also a call that does not fit, and is judged there as if there were no shortcut. So the
parameters have defaults and strangers are taken in, in order to be refused later.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from storycore.caching.compiled import OURS, function_of, is_compilable, key_source, means
from storycore.caching.counts import RegionStats
from storycore.caching.memory_tier import EMPTY, MOST_READS, MemoryTier
from storycore.caching.signatures import KeyedSignature
from storycore.caching.templates import Template

__all__ = ["MISSING", "Call", "Missing", "Shelf", "call_of", "function_shortcut", "region_shortcut"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional arguments, and those by name."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Missing(Enum):
    """The type of ``MISSING``."""

    MISSING = object()  # which has no text that could stand in a key


MISSING: Final = Missing.MISSING
"""An argument that was not given, or a value that is not there; it is no value of any region."""

_BODY = """\
{kind}def call({parameters}):
    try:
        {o}held = {o}peek({key})
    except {o}error:
        {o}held = None
    if {is_hit}:
        {o}kept = {o}held.kept
        if {o}kept is not {o}empty:
            {o}marks = {o}held.marks
            if {o}marks & {most} != {most}:
                {o}held.marks = {o}marks + 1
            {o}counts.memory_hits += 1
            return {value}
    return {otherwise}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a shortcut looks.

    Args:
        memory: holds the entries; what is longer than a key may be is not in it.
        prefix: of all keys.
        counts: where hits are counted.
        give: makes a caller's value of what is kept; ``None``: the value itself is kept.
    """

    memory: MemoryTier
    prefix: str
    counts: RegionStats
    give: Callable[[Any], Any] | None

    def means(self, template: Template) -> dict[str, object]:
        """The names that a shortcut takes for granted."""
        own = {
            "peek": self.memory.peek,
            "now": self.memory.now,
            "empty": EMPTY,
            "counts": self.counts,
            "give": self.give,
            "missing": MISSING,
        }
        return {**means(template), **{f"{OURS}{name}": value for name, value in own.items()}}

    def source(self, kind: str, parameters: str, key: str, fits: Sequence[str], otherwise: str) -> str:
        """The source of a shortcut, which is called ``call``."""
        return _BODY.format(
            o=OURS,
            kind=kind,
            parameters=parameters,
            key=key,
            is_hit=" and ".join([f"{OURS}held is not None", f"{OURS}held > {OURS}now()", *fits]),
            most=MOST_READS,
            value=f"{OURS}kept" if self.give is None else f"{OURS}give({OURS}kept)",
            otherwise=otherwise,
        )


def region_shortcut(template: Template, shelf: Shelf) -> Callable[..., Any]:
    """A function of the template's parameters as keywords: the value of a hit, else ``MISSING``.

    It raises ``TypeError`` for other parameters.
    """
    key = key_source(template, shelf.prefix, {})
    if key is None:
        return lambda **_: MISSING
    parameters = f"*, {', '.join(template.parameters)}" if template.parameters else ""
    return function_of(shelf.source("", parameters, key, [], f"{OURS}missing"), "call", shelf.means(template))


def function_shortcut(
    function: Callable[..., Any], signature: KeyedSignature, shelf: Shelf, missed: Callable[..., Any]
) -> Callable[..., Any] | None:
    """The function to call instead of ``function``; ``None`` when it takes any number of arguments, or names of ours.

    Args:
        missed: is called with the arguments of a call that was no hit, as ``call_of`` takes them.
    """
    template = Template(signature.template)
    key = key_source(template, shelf.prefix, signature.kinds)
    names = [one.name for one in signature.given]
    if key is None or not is_compilable(names) or any(one.kind in _VARIADIC for one in signature.given):
        return None
    defaults = {f"{OURS}default{i}": one.default for i, one in enumerate(signature.given)}
    source = _function_source(function, signature, shelf, key)
    made = function_of(source, "call", {**shelf.means(template), f"{OURS}missed": missed, **defaults})
    return functools.update_wrapper(made, function)


def call_of(
    signature: KeyedSignature,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    rest: Sequence[Any],
    more: Mapping[str, Any],
) -> Call:
    """The call as it was written: without what was missing, with what was too much."""
    first = next((i for i, value in enumerate(positional) if value is MISSING), len(positional))
    names = [one.name for one in signature.given if one.kind in _POSITIONAL]
    late = zip(names[first:], positional[first:], strict=True)
    keywords = {name: value for name, value in (*late, *named.items()) if value is not MISSING}
    return (*positional[:first], *rest), {**keywords, **more}


def _function_source(function: Callable[..., Any], signature: KeyedSignature, shelf: Shelf, key: str) -> str:
    positional = "".join(f"{one.name}, " for one in signature.given if one.kind in _POSITIONAL)
    named = ", ".join(f"{one.name!r}: {one.name}" for one in signature.given if one.kind not in _POSITIONAL)
    required = [one.name for one in signature.given if one.default is inspect.Parameter.empty]
    spelt = {path[0] for path in Template(signature.template).paths if len(path) == 1}  # and a missing one cannot be
    present = [f"{name} is not {OURS}missing" for name in required if name not in spelt]
    is_async = inspect.iscoroutinefunction(function)
    return shelf.source(
        "async " if is_async else "",
        ", ".join(_parameters(signature.given)),
        key,
        [f"not {OURS}rest", f"not {OURS}more", *present],
        f"{'await ' if is_async else ''}{OURS}missed(({positional}), {{{named}}}, {OURS}rest, {OURS}more)",
    )


def _parameters(given: Sequence[inspect.Parameter]) -> list[str]:
    """The parameters as they are written, each with a default, and the strangers."""
    parts: dict[Any, list[str]] = {kind: [] for kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)}
    for number, one in enumerate(given):
        default = "missing" if one.default is inspect.Parameter.empty else f"default{number}"
        parts[one.kind].append(f"{one.name}={OURS}{default}")
    alone, either, named = parts.values()
    return [*alone, *(["/"] if alone else []), *either, f"*{OURS}rest", *named, f"**{OURS}more"]
