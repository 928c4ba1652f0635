"""How a call of a decorated function becomes the parameters of its key."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from storycore.caching.templates import Template
from storycore.errors import ConfigError, InvalidArgument

__all__ = ["KeyedSignature", "NoKey", "hints_of", "is_method", "return_type"]

_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_OBJECTS = ("self", "cls")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class NoKey:
    """Marks a parameter that does not change the result: ``db: Annotated[Database, NoKey]``."""


class KeyedSignature:
    """A function's signature, checked against the template of its keys.

    Args:
        function: the function as it was written.
        template: names parameters of it; without any placeholder it is followed by all of them.
        ignore: parameters that do not change the result.
        hints: the function's annotations; those marked ``NoKey`` are ignored too.

    Raises:
        ConfigError: the template names no parameter, or a parameter is neither in it nor ignored.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        template: str,
        ignore: Sequence[str],
        hints: Mapping[str, Any],  # any annotation
    ) -> None:
        self._signature = inspect.signature(function)
        self.given = tuple(self._signature.parameters.values())
        self._name = _name_of(function)
        every = list(self._signature.parameters)
        marked = (name for name in every if _is_marked(hints.get(name)))
        ignored = {*ignore, *marked, *(name for name in every[:1] if name in _OBJECTS)}
        keyed = [name for name in every if name not in ignored]
        self.template = _completed(template, keyed)
        self._used = Template(self.template).parameters
        self.kinds = {name: hints.get(name) for name in self._used}
        self._check(every, keyed, ignore)
        self._is_plain = all(one.kind in _PLAIN for one in self.given)
        self._names = frozenset(every)
        self._positional = [one.name for one in self.given if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        self._defaults = {one.name: one.default for one in self.given if one.default is not inspect.Parameter.empty}

    def parameters(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, object]:
        """The template's parameters of one call, defaults included.

        Raises:
            InvalidArgument: the function cannot be called like that.
        """
        found = self._simply(args, kwargs)
        if found is not None:
            return {name: found[name] for name in self._used}
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise InvalidArgument(f"{self._name}() cannot be called like that: {exc}.") from exc
        bound.apply_defaults()
        return {name: bound.arguments[name] for name in self._used}

    def _simply(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The arguments of an everyday call, which costs a tenth of ``bind``; ``None`` where that must judge."""
        if not self._is_plain or len(args) > len(self._positional):
            return None
        found = {**self._defaults, **dict(zip(self._positional, args, strict=False)), **kwargs}
        if found.keys() != self._names or not kwargs.keys().isdisjoint(self._positional[: len(args)]):
            return None
        return found

    def _check(self, every: Sequence[str], keyed: Sequence[str], ignore: Sequence[str]) -> None:
        unknown = [name for name in (*self._used, *ignore) if name not in every]
        if unknown:
            raise ConfigError(
                f"{self._name}() has no parameter {unknown[0]!r}; the key template is {self.template!r}.",
                path="template",
            )
        missing = [name for name in keyed if name not in self._used]
        if missing:
            raise ConfigError(
                f"{self._name}(): the parameter {missing[0]!r} is not in the key template {self.template!r}, so calls "
                f"that differ in it would share a result; add {{{missing[0]}}}, name it in ignore, or mark it NoKey.",
                path="template",
            )
        for name in self._used:
            if self._signature.parameters[name].kind in _VARIADIC:
                raise ConfigError(f"{self._name}(): *args and **kwargs cannot be part of a cache key.", path="template")


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:  # any annotation
    """The function's annotations, with what ``Annotated`` adds to them.

    Raises:
        ConfigError: one of them cannot be read.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as exc:
        raise ConfigError(
            f"{_name_of(function)}(): the annotation cannot be read, {exc}; use names of the module."
        ) from exc


def return_type(function: Callable[..., Any], hints: Mapping[str, Any]) -> Any:
    """The annotated type of the function's results.

    Raises:
        ConfigError: there is none.
    """
    if "return" not in hints:
        raise ConfigError(
            f"{_name_of(function)}() needs a return annotation, by which its results are read back from the cache."
        )
    return hints["return"]


def is_method(function: Callable[..., Any]) -> bool:
    """Whether the function was written in a class, or takes an object first."""
    place = _name_of(function).rpartition(".")[0]
    return (bool(place) and not place.endswith("<locals>")) or next(
        iter(inspect.signature(function).parameters), ""
    ) in _OBJECTS


def _is_marked(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Annotated and any(
        mark is NoKey or isinstance(mark, NoKey) for mark in hint.__metadata__
    )


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _completed(template: str, names: Sequence[str]) -> str:
    return template if "{" in template or not names else ":".join([template, *(f"{{{name}}}" for name in names)])
