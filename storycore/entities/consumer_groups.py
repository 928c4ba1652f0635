"""Consumer groups: how far a group has read the change feed, and which of its members reads on."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

from storycore.entities.leases import Held, Kept, Lease, LeaseLostError
from storycore.errors import InvalidArgument
from storycore.ports.entities import EntityStore, FeedPosition, Key
from storycore.ports.environment import Environment

__all__ = ["GROUP_KIND", "Group", "LeaseLostError"]

GROUP_KIND = "change_group"
"""The kind of the records that keep groups; no entity's own, so no stream tells of them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Group:
    """One member of a group; of all of them the one reads who has the group's lease.

    Args:
        store: keeps the group's record.
        env: tells the time, by which leases end, and names the member.
        name: of the group: 1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``, a letter or digit first.
        lease: after this time without a sign of life another member takes over.

    Raises:
        InvalidArgument: no such name, or a lease below one second.
    """

    def __init__(self, store: EntityStore, env: Environment, name: str, lease: timedelta) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"A group's name is 1 to 64 letters, digits, '_', '.' and '-', a letter or digit first, not {name!r}."
            )
        self.name = name
        key = Key(f"!group#{name}", "place")
        self._lease = Lease(store, env, key=key, kind=GROUP_KIND, length=lease, decode=_position)
        self._lease.state = None

    @property
    def position(self) -> FeedPosition | None:
        """Everything up to here is done; ``None``: nothing is. Whoever has the turn moves it."""
        return self._lease.state

    @position.setter
    def position(self, position: FeedPosition | None) -> None:
        self._lease.state = position

    @property
    def is_held(self) -> bool:
        """Whether it is this member's turn, as far as he knows."""
        return self._lease.is_held

    @property
    def fence(self) -> int | None:
        """Greater than that of every turn before; ``None`` while it is not this member's."""
        return self._lease.fence

    async def take(self, start: Callable[[], Awaitable[FeedPosition | None]]) -> bool:
        """Take the turn if it is nobody else's; ``position`` is then where to go on.

        Args:
            start: gives the position of a group that has none yet.
        """

        async def begin(found: Held[FeedPosition | None] | None) -> Kept[FeedPosition | None]:
            return Kept(await start() if found is None else found.state)

        return await self._lease.take(begin)

    async def hold(self) -> None:
        """See to it that the turn lasts; writes only when a third of the lease is over.

        Raises:
            LeaseLostError: the turn is another's.
        """
        await self._lease.hold()

    async def save(self) -> None:
        """Keep ``position`` for good, and renew the lease.

        Raises:
            LeaseLostError: the turn is another's; nothing was saved.
        """
        await self._lease.save()

    async def release(self) -> bool:
        """Save, and let another member have the turn at once; does nothing without the turn.

        Returns:
            whether ``position`` is saved. Where it is not, what was not saved is told again.
        """
        return await self._lease.release()

    async def reset(self, position: FeedPosition | None) -> None:
        """Let the group go on at ``position``; whoever has the turn loses it."""
        await self._lease.reset(position)


def _position(value: object) -> FeedPosition | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a position is a text, not {type(value).__name__}")
    return None if value is None else FeedPosition(value)
