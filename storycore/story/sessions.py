"""Sessions, which live on while they are saved and vanish a day later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storycore.entities import Repository
from storycore.ports.environment import Environment
from storycore.ports.pages import Cursor, Page
from storycore.story.collection import Collection
from storycore.story.models import Session, SessionStatus

__all__ = ["Sessions"]

_REMOVED_PER_CALL = 1000
_COUNTED = 1_000_000


class Sessions(Collection[Session]):
    """The sessions of a store.

    Args:
        repository: keeps them.
        env: tells the time.
    """

    def __init__(self, repository: Repository[Session], env: Environment) -> None:
        super().__init__(repository)
        self._env = env

    async def save(self, instance: Session) -> Session:
        """Store a session; an active one then has its whole lifetime before it.

        Raises:
            VersionConflict: somebody else changed it since it was loaded; load it again.
            InvalidArgument, TooLarge: it cannot be stored.
        """
        self._extend(instance)
        return await super().save(instance)

    async def save_batch(self, instances: Iterable[Session]) -> int:
        """Store any number of sessions, each like ``save``; returns how many."""
        sessions = list(instances)
        for session in sessions:
            self._extend(session)
        return await super().save_batch(sessions)

    async def update(self, id: str, changes: Mapping[str, object]) -> Session:  # noqa: A002 - the domain's own word
        """Set some fields; a session that stays active then has its whole lifetime before it.

        Raises:
            NotFound: there is no such session, or it has expired.
            InvalidArgument: a field is unknown, or the result is not valid.
        """

        def extended(session: Session) -> dict[str, object]:
            changed = {**changes}
            if changed.get("status", session.status) == SessionStatus.ACTIVE:
                changed.setdefault("expires_at", self._env.clock.now() + session.lifetime)
            return changed

        return await self.repository.modify(id, extended)

    async def end(self, session_id: str) -> Session:
        """Mark a session as ended; it is kept until it expires. Ending it again changes nothing.

        Raises:
            NotFound: there is no such session, or it has expired.
        """

        def ended(session: Session) -> dict[str, object]:
            if session.status is SessionStatus.ENDED:
                return {}
            return {"status": SessionStatus.ENDED, "ended_at": self._env.clock.now()}

        return await self.repository.modify(session_id, ended)

    async def by_user(self, user_id: str, *, limit: int = 50, cursor: Cursor | str | None = None) -> Page[Session]:
        """A user's sessions, newest first."""
        return await self.repository.by_user.page(user_id=user_id, limit=limit, cursor=cursor, reverse=True)

    async def active(self, *, limit: int = 50, cursor: Cursor | str | None = None) -> Page[Session]:
        """Sessions that have neither ended nor expired, the last saved first."""
        return await self.repository.by_status.page(
            status=SessionStatus.ACTIVE, limit=limit, cursor=cursor, reverse=True
        )

    async def cleanup_expired(self, *, dry_run: bool = False) -> int:
        """Remove what has expired from the store, to save space; returns how many records went.

        Nothing that has expired is ever seen, whether this is called or not. A ``dry_run`` counts them, up to a
        million, and changes nothing.
        """
        removed, now = 0, self._env.clock.now()
        if dry_run:
            return await self.repository.store.expire(now, budget=_COUNTED, dry_run=True)
        while True:
            gone = await self.repository.store.expire(now, budget=_REMOVED_PER_CALL)
            removed += gone
            if gone < _REMOVED_PER_CALL:
                return removed

    def _extend(self, session: Session) -> None:
        if session.status is SessionStatus.ACTIVE:
            session.expires_at = self._env.clock.now() + session.lifetime
