"""Compiled keys: a template as one Python expression, for functions whose own signature reads the parameters.

The source is built from names that Python itself accepts as identifiers and from literals that ``repr`` wrote; values,
defaults and the template's text never become source. What the expression cannot do it leaves to ``Template.typed``.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from storycore.caching.templates import Template

__all__ = ["OURS", "compiled_key", "function_of", "is_compilable", "key_source", "means"]

OURS = "_storycore_"
"""How the names begin that generated code adds to those of the caller."""


def is_compilable(names: Iterable[str]) -> bool:
    """Whether all names can stand in generated code and none is one of ours."""
    return all(
        name.isidentifier() and not keyword.iskeyword(name) and name != "__debug__" and not name.startswith(OURS)
        for name in names
    )


def key_source(template: Template, prefix: str, kinds: Mapping[str, object]) -> str | None:
    """The expression of ``prefix`` and key, over the parameters' names and what ``means`` gives.

    Args:
        kinds: the parameters' annotated types, where they are known.

    Returns:
        ``None`` when a name cannot stand in source.
    """
    if not is_compilable(name for path in template.paths for name in path):
        return None
    pieces = [repr(prefix + template.literals[0])]
    for number, (path, literal) in enumerate(zip(template.paths, template.literals[1:], strict=True)):
        is_int = len(path) == 1 and kinds.get(path[0]) is int
        text = _int_source(path) if is_int else _text_source(path, f"{OURS}{number}", template.keeps_identifiers)
        pieces += [f"f'{{{text}}}'", repr(literal)]
    return f"({' '.join(pieces)})"


def compiled_key(template: Template, prefix: str) -> Callable[..., str]:
    """A function of the template's parameters as keywords that gives ``prefix`` and key, unbounded.

    It raises ``TypeError``, ``AttributeError`` or ``InvalidArgument`` for parameters that ``Template.key`` refuses.
    """
    source = key_source(template, prefix, {})
    if source is None or not is_compilable(template.parameters):
        return lambda **parameters: prefix + template.key(parameters)
    keywords = f"*, {', '.join(template.parameters)}" if template.parameters else ""
    return function_of(f"def key({keywords}): return {source}", "key", means(template))


def means(template: Template) -> dict[str, object]:
    """The names that ``key_source`` takes for granted."""
    return {
        f"{OURS}text": template.typed,
        f"{OURS}type": type,
        f"{OURS}str": str,
        f"{OURS}int": int,
        f"{OURS}error": Exception,
    }


def function_of(source: str, name: str, given: Mapping[str, object]) -> Callable[..., Any]:
    """The function ``name`` that ``source`` defines, with ``given`` as its globals; free variables cost more a call."""
    made: dict[str, Any] = dict(given)
    exec(source, made)  # noqa: S102  # names that are identifiers, and literals that repr wrote
    function: Callable[..., Any] = made[name]
    return function


def _int_source(path: Sequence[str]) -> str:
    return f"{path[0]} if {OURS}type({path[0]}) is {OURS}int else {OURS}text({path[0]})"


def _text_source(path: Sequence[str], name: str, keeps_identifiers: bool) -> str:
    plain = f"{name}.isalnum() and not {name}.isdecimal()"
    if keeps_identifiers:
        plain = f"({name}.isidentifier() or {plain})"
    is_text = f"{OURS}type({name} := {'.'.join(path)}) is {OURS}str"
    return f"{name} if {is_text} and {plain} else {OURS}text({name})"
