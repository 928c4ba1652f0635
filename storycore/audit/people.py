"""Users' own keys: what the trail keeps of a user is hashed with one, which nobody can make once he is forgotten.

A key is made of the trail's key and of a random number that lies beside the trail; forgetting destroys the number.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from storycore.audit.keys import AuditKey, sealed
from storycore.audit.places import Place
from storycore.errors import AlreadyExists, Corrupt
from storycore.ports.conditions import ABSENT
from storycore.ports.environment import Clock

__all__ = ["People"]

_SALT_BYTES = 32
_REMEMBERED = timedelta(seconds=60)
_MOST = 10_000


class People:
    """The own keys of users; one is remembered for a minute, so that another process soon learns who was forgotten.

    Args:
        place: where the trail lies.
        clock: tells when a key was read.
    """

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._known: dict[str, tuple[datetime, bytes]] = {}

    async def key(self, user: str, trail: AuditKey) -> bytes:
        """A user's own key, made where there is none.

        Raises:
            Corrupt: what makes it was exchanged.
        """
        now = self._clock.now()
        known = self._known.get(user)
        if known is not None and now - known[0] < _REMEMBERED:
            return known[1]
        found = await self.known(user, trail)
        while found is None:
            try:
                state: dict[str, object] = {"user": trail.of_user(user), "salt": secrets.token_hex(_SALT_BYTES)}
                await self._place.blobs.put(self._name(user, trail), sealed(trail, state), when=ABSENT)
            except AlreadyExists:  # somebody else made one meanwhile
                pass
            found = await self.known(user, trail)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[user] = now, found
        return found

    async def known(self, user: str, trail: AuditKey) -> bytes | None:
        """A user's own key, if there is one.

        Raises:
            Corrupt: what makes it was exchanged.
        """
        state, _ = await self._place.state(self._name(user, trail), trail)
        if state is None:
            return None
        if state.get("user") != trail.of_user(user):
            raise Corrupt(f"{self._name(user, trail)} of the audit trail is another user's; remove it.")
        return trail.own(user, bytes.fromhex(str(state["salt"])))

    async def forget(self, user: str, trail: AuditKey) -> bool:
        """Destroy what makes a user's own key; whether there was one."""
        self._known.pop(user, None)
        [done] = await self._place.blobs.delete([self._name(user, trail)])
        return done

    def _name(self, user: str, trail: AuditKey) -> str:
        return f"{self._place.prefix}users/{trail.of_user(user)}"
