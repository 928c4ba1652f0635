"""Questions that share few words with the document that answers them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["QUESTIONS", "Question"]


class Question(NamedTuple):
    """A question and the document that answers it.

    Args:
        text: what a reader would ask.
        source: the document's path below the folder of the corpus, with ``/``.
    """

    text: str
    source: str


QUESTIONS = (
    Question(
        "Which African American woman founded a financial institution for small savers?", "people/maggie-walker.md"
    ),
    Question("Where can I go kayaking through whitewater close to the skyscrapers?", "james-river.md"),
    Question("Who first sold beer packed in metal containers?", "food-and-breweries.txt"),
    Question("At what spot do trains cross above each other on separate levels?", "railroads.html"),
    Question("Why did much of downtown go up in flames at the end of the Civil War?", "evacuation-fire.html"),
)
"""Five questions with five different answers."""
