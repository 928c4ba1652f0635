"""Tracking: what users and programs did becomes events in the log."""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

from pydantic import BaseModel, JsonValue, ValidationError

from storycore.errors import InvalidArgument
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, EventPage, EventSink, Offset, StoredEvent

__all__ = ["API_CALL", "Tracker"]

_RECENT = 10_000

API_CALL = "api_call"
"""The type of the events that ``track_api_call`` writes."""


class Tracker:
    """Writes events with the present time and fresh ids.

    Args:
        sink: where they go; borrowed, never closed here.
        env: tells the time and makes ids.
        types: types of events with the model of their properties; any other type takes any properties.
    """

    def __init__(
        self, sink: EventSink, env: Environment, *, types: Mapping[str, builtins.type[BaseModel]] | None = None
    ) -> None:
        self.sink = sink
        self._env = env
        self._types = dict(types or {})

    async def track(
        self,
        type: str,  # noqa: A002 - the event's own word
        *,
        user_id: str = "",
        properties: Mapping[str, JsonValue] | None = None,
        event_id: str | None = None,
    ) -> Emitted:
        """Record that something happened now; durable when it returns.

        Args:
            type: what happened, for example ``"feature_used"``; 1 to 128 characters.
            user_id: who it is about; ``""`` when nobody.
            properties: the details, as JSON values.
            event_id: makes a repeated call count once; ``None`` takes a fresh id.

        Raises:
            InvalidArgument: the event cannot be kept, or its properties are not those of its type.
            TooLarge: it is too large.
        """
        event = Event(
            id=self._env.new_id() if event_id is None else event_id,
            type=type,
            at=self._env.clock.now(),
            subject=user_id,
            data=self._checked(type, properties or {}),
        )
        [emitted] = await self.sink.emit([event])
        return emitted

    async def track_api_call(
        self, endpoint: str, method: str, status_code: int, response_time_seconds: float, *, user_id: str = ""
    ) -> Emitted:
        """Record one call of an interface and how long it took, in seconds.

        Raises:
            InvalidArgument: the response time is negative.
        """
        if response_time_seconds < 0:
            raise InvalidArgument(f"A response time cannot be negative, but {response_time_seconds!r} was given.")
        properties: dict[str, JsonValue] = {
            "endpoint": endpoint,
            "method": method.upper(),
            "status_code": status_code,
            "response_time_seconds": response_time_seconds,
        }
        return await self.track(API_CALL, user_id=user_id, properties=properties)

    async def read(
        self,
        after: Offset | None = None,
        *,
        types: Sequence[str] = (),
        user_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
    ) -> EventPage:
        """Recorded events in the order in which they were recorded; the arguments are those of ``EventSink.read``."""
        return await self.sink.read(after, types=types, subject=user_id, since=since, until=until, limit=limit)

    async def recent(
        self,
        limit: int = 50,
        *,
        types: Sequence[str] = (),
        user_id: str | None = None,
        within: timedelta = timedelta(hours=24),
    ) -> list[StoredEvent]:
        """The last recorded events of a period, newest first.

        Args:
            limit: how many at most, 1 to 10 000.
            types: only these types; empty: all.
            user_id: only about this one; ``None``: all.
            within: how far back an event's own instant may lie; the log is read from there on.

        Raises:
            InvalidArgument: the limit is out of range.
        """
        if not 1 <= limit <= _RECENT:
            raise InvalidArgument(f"limit is {limit}, expected 1 to {_RECENT}.")
        latest: deque[StoredEvent] = deque(maxlen=limit)
        since = self._env.clock.now() - within
        after: Offset | None = None
        while True:
            page = await self.read(after, types=types, user_id=user_id, since=since, limit=_RECENT)
            latest.extend(page.events)
            if len(page.events) < _RECENT:
                return list(reversed(latest))
            after = page.next

    def _checked(self, type_: str, properties: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        model = self._types.get(type_)
        if model is None:
            return dict(properties)
        try:
            return cast(Mapping[str, JsonValue], model.model_validate(properties).model_dump(mode="json"))
        except ValidationError as exc:
            problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in exc.errors())
            raise InvalidArgument(f"The properties of the event {type_!r} do not fit its type: {problems}.") from exc
