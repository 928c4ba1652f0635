"""Sessions: a conversation that leads to a story, kept for a day after its last turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, Field, JsonValue

from storycore.errors import InvalidArgument
from storycore.story.models.values import Id, Label, Moment, new_id, now

__all__ = ["Session", "SessionStatus", "Turn"]

_LIFETIME = timedelta(hours=24)


class SessionStatus(StrEnum):
    """Whether a conversation goes on."""

    ACTIVE = "active"
    ENDED = "ended"


class Turn(BaseModel):
    """One step of a conversation.

    Args:
        kind: what the step is, for example ``"kickoff"``.
        user_input: what the user said.
        response: what was answered.
    """

    kind: Label
    user_input: str | None = None
    response: str | None = None
    at: Moment = Field(default_factory=now)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class Session(BaseModel):
    """A conversation.

    Args:
        user_id: whose it is; ``None`` for a visitor.
        context: what an application wants to remember between turns.
        story_ids: the stories that came out of it.
        lifetime: how long it is kept after it was last saved.
        expires_at: from then on it is gone; every save of an active session moves it.
    """

    session_id: Id = Field(default_factory=new_id)
    user_id: Id | None = None
    status: SessionStatus = SessionStatus.ACTIVE
    title: str = ""
    turns: list[Turn] = Field(default_factory=list)
    context: dict[str, JsonValue] = Field(default_factory=dict)
    story_ids: list[Id] = Field(default_factory=list)
    lifetime: timedelta = Field(default=_LIFETIME, gt=timedelta(0))
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)
    ended_at: Moment | None = None
    expires_at: Moment = Field(default_factory=lambda: now() + _LIFETIME)

    def add_turn(
        self,
        kind: str,
        *,
        user_input: str | None = None,
        response: str | None = None,
        at: datetime | None = None,
        metadata: dict[str, JsonValue] | None = None,
    ) -> Turn:
        """Append a turn; it is kept when the session is saved.

        Raises:
            InvalidArgument: the session has ended.
        """
        if self.status is SessionStatus.ENDED:
            raise InvalidArgument(f"The session {self.session_id!r} has ended; begin another one.")
        turn = Turn(kind=kind, user_input=user_input, response=response, at=at or now(), metadata=metadata or {})
        self.turns.append(turn)
        return turn
