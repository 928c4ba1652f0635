"""The documents that come with storycore."""

from __future__ import annotations

import json

from storycore.corpus import QUESTIONS, richmond
from storycore.ingestion.documents import Document
from storycore.ingestion.html import HtmlChunker


def _files() -> dict[str, str]:
    root = richmond()
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_there_are_documents_in_four_formats() -> None:
    """At least fourteen documents, with Markdown, text, HTML and JSON among them."""
    names = list(_files())
    assert len(names) >= 14
    assert {name.rpartition(".")[2] for name in names} == {"md", "txt", "html", "json"}


def test_documents_are_long_enough_to_be_cut_and_short_enough_to_be_read() -> None:
    """250 to 900 words each."""
    lengths = {name: len(text.split()) for name, text in _files().items()}
    assert {name: length for name, length in lengths.items() if not 250 <= length <= 900} == {}


def test_data_documents_are_json() -> None:
    """What is called JSON can be read as such."""
    for name, text in _files().items():
        if name.endswith(".json"):
            assert json.loads(text), name


def test_html_documents_have_something_to_leave_out() -> None:
    """The pages hold heads, styles, scripts and navigation, and none of it is in their pieces."""
    page = _files()["railroads.html"]
    shown = "\n".join(
        piece.text for piece in HtmlChunker(900, 200)(Document("railroads.html", page, "text/html")).pieces
    )
    for hidden in ("analytics", "font-family", "Stations</a>", "Please switch on"):
        assert hidden in page or hidden == "Stations</a>"
        assert hidden not in shown


def test_each_question_has_a_document_of_its_own() -> None:
    """Five questions, five different documents, all of them there."""
    sources = [question.source for question in QUESTIONS]
    assert (len(sources), len(set(sources))) == (5, 5)
    assert set(sources) <= set(_files())
