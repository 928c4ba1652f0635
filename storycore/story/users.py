"""Users, by id, address and name, of which each has one holder, with counters that many may add to at once."""

from __future__ import annotations

from collections.abc import Mapping

from storycore.ports.pages import Cursor, Page
from storycore.story.collection import Collection
from storycore.story.models import User, UserRole

__all__ = ["Users"]


class Users(Collection[User]):
    """The users of a store.

    An address belongs to one user, and so does a name, in whatever case: every write of a user whose address or name
    another one has raises ``NotUnique``. What a user gives up, or leaves behind when deleted, is free at once. Guests
    have no address, and any number of them have none.
    """

    async def by_email(self, email: str) -> User | None:
        """The user with that address, in any case of letters; an index finds it, which may lag by a moment."""
        page = await self.repository.by_email.page(email=email.strip().lower(), limit=1)
        return next(iter(page.items), None)

    async def by_username(self, username: str) -> User | None:
        """The user with exactly that name; an index finds it, which may lag by a moment."""
        page = await self.repository.by_username.page(username=username, limit=1)
        return next(iter(page.items), None)

    async def list(
        self, *, role: UserRole | None = None, limit: int = 50, cursor: Cursor | str | None = None
    ) -> Page[User]:
        """Users, of one role or all, newest first."""
        if role is None:
            return await self.repository.everyone.page(limit=limit, cursor=cursor, reverse=True)
        return await self.repository.by_role.page(role=role, limit=limit, cursor=cursor, reverse=True)

    async def update_stats(self, user_id: str, amounts: Mapping[str, int]) -> User:
        """Add to counters in one atomic step: ``{"stories_created": 1, "total_words": 500}``.

        Raises:
            NotFound: there is no such user.
            InvalidArgument: a name is not a counter's, or a counter would fall below 0.
        """
        return await self.repository.count(user_id, amounts)

    async def set_preferences(self, user_id: str, changes: Mapping[str, object]) -> User:
        """Change some preferences and keep the others.

        Raises:
            NotFound: there is no such user.
            InvalidArgument: a preference has a value that it cannot have.
        """

        def merged(user: User) -> dict[str, object]:
            return {"preferences": {**user.preferences.model_dump(), **changes}}

        return await self.repository.modify(user_id, merged)
