"""Which layers there are, and the one order in which they may be stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from storycore.errors import ConfigError
from storycore.layers.around import Around, Interceptor
from storycore.layers.pacing import PaceSettings, Pacing
from storycore.layers.readonly import ReadOnly
from storycore.layers.retry import Retrying, RetrySettings
from storycore.layers.timeout import Timeout, TimeoutSettings
from storycore.layers.waiting import Waiting
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Port, PortName
from storycore.suggestions import did_you_mean, nearest

__all__ = ["LAYERS", "interceptor", "stacked"]

LAYERS = ("readonly", "retry", "pace", "timeout")
"""The layers that a profile can name in ``layers``, outermost first."""


def interceptor(use: str, options: Mapping[str, object], env: Environment, *, path: str = "layers") -> Interceptor:
    """The layer that a profile names.

    Args:
        use: one of ``LAYERS``.
        options: its settings.
        path: where in the profile, for the error.

    Raises:
        ConfigError: an unknown layer or setting.
    """
    try:
        match use:
            case "readonly":
                if options:
                    raise ConfigError(
                        f"The layer 'readonly' has no settings, but {', '.join(options)} was given.", path=path
                    )
                return ReadOnly()
            case "retry":
                return Retrying(RetrySettings.model_validate(dict(options)), env.random)
            case "pace":
                return Pacing(PaceSettings.model_validate(dict(options)))
            case "timeout":
                return Timeout(TimeoutSettings.model_validate(dict(options)))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        name = f"{where}: " if where else ""
        raise ConfigError(
            f"The layer {use!r}: {name}{first['msg']}.", path=f"{path}.{where}" if where else path
        ) from exc
    raise ConfigError(
        f"There is no layer {use!r}. {did_you_mean(use, LAYERS)}", path=path, suggestion=nearest(use, LAYERS)
    )


def stacked(port: PortName, inner: Port, interceptors: Sequence[Interceptor]) -> Port:
    """``inner`` with the interceptors around it, outermost first.

    A vector index whose writes are seen late has ``Waiting`` among them, at its place.

    Raises:
        ConfigError: two are of one kind, or they are not in the order of their slots (a timeout, say, outside retry).
    """
    names = [type(layer).__name__ for layer in interceptors]
    if len(set(names)) < len(names):
        raise ConfigError(f"A layer stands twice around {port}: {', '.join(names)}.", path=f"{port}.layers")
    ordered = sorted(interceptors, key=lambda layer: layer.slot)
    if list(interceptors) != ordered:
        wanted = ", ".join(type(layer).__name__ for layer in ordered)
        raise ConfigError(
            f"The layers around {port} must stand in this order, outermost first: {wanted}.", path=f"{port}.layers"
        )
    if port is PortName.VECTORS and not inner.capabilities.guarantees.read_after_write:
        ordered = sorted([*ordered, Waiting()], key=lambda layer: layer.slot)
    return Around(port, inner, ordered) if ordered else inner
