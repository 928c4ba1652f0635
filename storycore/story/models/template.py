"""Templates: texts with named gaps, from which stories are begun."""

from __future__ import annotations

from string import Formatter

from pydantic import BaseModel, Field, NonNegativeInt, field_validator

from storycore.errors import InvalidArgument
from storycore.story.models.story import StoryStyle
from storycore.story.models.values import Id, Label, Moment, Tags, new_id, now

__all__ = ["Template"]


class Template(BaseModel):
    """A template.

    Args:
        body: text with gaps, ``"{topic} in {city}"``; ``{{`` and ``}}`` stand for braces.
        uses: counter, changed by ``count_use``.
        author_id: who made it.
    """

    template_id: Id = Field(default_factory=new_id)
    name: Label
    style: StoryStyle
    description: str = ""
    body: str = Field(min_length=1)
    tags: Tags = Field(default_factory=set)
    is_active: bool = True
    author_id: Id | None = None
    uses: NonNegativeInt = 0
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)

    @field_validator("body")
    @classmethod
    def _plain_gaps(cls, body: str) -> str:
        for _, name, form, conversion in Formatter().parse(body):
            if name is not None and (not name.isidentifier() or form or conversion):
                raise ValueError(f"a gap is a plain name in braces, not {{{name}}} with anything else")
        return body

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the gaps, each once, in order."""
        return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.body) if name))

    def render(self, **values: object) -> str:
        """The body with its gaps filled.

        Raises:
            InvalidArgument: a gap has no value.
        """
        missing = [name for name in self.variables if name not in values]
        if missing:
            raise InvalidArgument(f"The template {self.name!r} needs {', '.join(missing)}; give a value for each.")
        return self.body.format_map(values)
