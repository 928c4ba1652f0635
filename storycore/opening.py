"""Opening: from what names a profile to a store that can be entered, with and without ``await``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from storycore.app import Store
from storycore.caching.functions import Runner
from storycore.errors import InvalidArgument
from storycore.plugins import Plugins
from storycore.ports.environment import Environment
from storycore.profiles import Profile, load, missing_adapters
from storycore.sync import SyncStore

__all__ = ["Opening", "open", "open_sync"]


class Opening:
    """A store that is not open yet: ``async with`` opens it and closes it again."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._store: Store | None = None

    async def __aenter__(self) -> Store:
        self._store = self._make()
        await self._store.open()
        return self._store

    async def __aexit__(self, *exc_info: object) -> None:
        if self._store is not None:
            await self._store.close()


def open(  # noqa: A001 - storycore.open is the name
    profile: str | Path | Profile | None = None,
    *,
    dir: Path | str | None = None,  # noqa: A002 - the profile's own word
    overrides: Mapping[str, object] | None = None,
    plugins: Sequence[object] = (),
    env: Environment | None = None,
) -> Opening:
    """A store for a profile, to be entered with ``async with``.

    Args:
        profile: a name (``"local"``, ``"memory"``, ``"aws"`` or one of ``storycore.toml``), the path of a configuration
            file, or a ``Profile``. ``None``: ``STORYCORE_PROFILE``, else the file's default, else ``local``.
        dir: the folder of a local layer.
        overrides: settings that win over all others, as in a file: ``{"cache": "memory://"}``.
        plugins: modules or objects with hook implementations that need no packaging.
        env: clock, ids and randomness.

    Raises:
        ConfigError: at once, when the profile is wrong; on entering, when an adapter's settings are.
        AdapterNotFound: on entering, when adapters are not installed; one error names all of them.
    """
    settings = _profile(profile, dir, overrides)
    return Opening(lambda: _assemble(settings, plugins, env or Environment()))


def open_sync(
    profile: str | Path | Profile | None = None,
    *,
    dir: Path | str | None = None,  # noqa: A002 - the profile's own word
    overrides: Mapping[str, object] | None = None,
    plugins: Sequence[object] = (),
    env: Environment | None = None,
) -> SyncStore:
    """The same without ``await``, to be entered with ``with``; the arguments are those of ``open``.

    Raises:
        InvalidArgument: an event loop is running in this thread; use ``open`` there.
    """
    settings = _profile(profile, dir, overrides)
    return SyncStore(lambda run: Opening(lambda: _assemble(settings, plugins, env or Environment(), run)))


def _profile(
    profile: str | Path | Profile | None, folder: Path | str | None, overrides: Mapping[str, object] | None
) -> Profile:
    given = {**(overrides or {}), **({"dir": str(folder)} if folder is not None else {})}
    if isinstance(profile, Profile):
        if given:
            raise InvalidArgument("A Profile is complete; give `dir` and `overrides` to Profile's own making instead.")
        return profile
    return load(profile, overrides=given)


def _assemble(profile: Profile, extra: Sequence[object], env: Environment, run: Runner | None = None) -> Store:
    plugins = Plugins(extra)
    for name in profile.plugins:
        plugins.load(name)
    if (missing := missing_adapters(profile, plugins)) is not None:
        raise missing
    return Store(profile, plugins, env, run=run)
