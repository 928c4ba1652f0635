"""What every chunker promises, and how each format is cut."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.corpus import richmond
from storycore.ingestion import Chunked, Document, IngestionConfig, Piece
from storycore.ingestion.chunkers import builtin_chunkers, chunker_fingerprint, content_type_of, pick_chunker
from storycore.ingestion.documents import digest, make_chunks
from storycore.ingestion.markdown import front_matter
from storycore.ingestion.markdown_blocks import blocks

CHECKED = settings(max_examples=40, deadline=None, derandomize=True, database=None)
SMALL = IngestionConfig(chunk_chars=120, min_chars=30)
VERBATIM = ("text/markdown", "text/plain", "text/x-source", "text/csv")

LINES = st.sampled_from(
    [
        *(
            "# Rivers\n",
            "## Falls #\n",
            "###Not a heading\n",
            "Setext\n======\n",
            "=====\n",
            "---\n",
            "\n",
            "\r\n",
            "  \n",
        ),
        *("The river falls. It never rests! Does it?\n", "- one\n", "1. first\n", "> quoted\n", "<b>bold</b>\n"),
        *(
            "```python\n",
            "# in code\n",
            "```\n",
            "~~~~\n",
            "\ttabbed\n",
            "| a | b |\n",
            "|---|:-:|\n",
            "| 1 | 2 |\n",
            "a|b\n",
        ),
        *("x" * 150 + "\n", "word " * 40 + "\n", "河流。" * 30, "no end of line", "\u2028", "\f\n"),
    ]
)
TEXTS = st.lists(LINES, max_size=25).map("".join) | st.text(max_size=300)


def cut(text: str, content_type: str, config: IngestionConfig = SMALL) -> Chunked:
    """The pieces of a text."""
    return builtin_chunkers(config)[content_type](Document("a/b.txt", text, content_type))


def texts_of(text: str, content_type: str, config: IngestionConfig = SMALL) -> list[str]:
    """The pieces' texts."""
    return [piece.text for piece in cut(text, content_type, config).pieces]


def sections_of(text: str, content_type: str) -> list[str]:
    """The pieces' sections."""
    return [piece.section for piece in cut(text, content_type).pieces]


@pytest.mark.parametrize("content_type", VERBATIM)
@CHECKED
@given(text=TEXTS)
def test_spans_cover_the_text_once_and_in_order(content_type: str, text: str) -> None:
    """Spans do not overlap, ascend, and leave out nothing but blank space."""
    at = 0
    front = front_matter(text)[1] if content_type == "text/markdown" else 0
    for piece in cut(text, content_type).pieces:
        assert piece.start >= at
        assert text[max(at, front) : piece.start].strip() == ""
        assert piece.end > piece.start
        at = piece.end
    assert text[max(at, front) :].strip() == ""


@pytest.mark.parametrize("content_type", VERBATIM)
@CHECKED
@given(text=TEXTS)
def test_a_piece_is_what_its_span_says(content_type: str, text: str) -> None:
    """A piece's text is the source's own, behind the repeated head of a table if there is one, and is not blank."""
    for piece in cut(text, content_type).pieces:
        assert piece.text.endswith(text[piece.start : piece.end])
        assert piece.text.strip() != ""
        head = piece.text[: len(piece.text) - (piece.end - piece.start)]
        assert head in text


@pytest.mark.parametrize("content_type", [*VERBATIM, "text/html"])
@CHECKED
@given(text=TEXTS)
def test_no_piece_is_longer_than_the_limit(content_type: str, text: str) -> None:
    """The limit holds whatever the text is."""
    assert all(len(piece) <= SMALL.chunk_chars for piece in texts_of(text, content_type))


@pytest.mark.parametrize("content_type", [*VERBATIM, "text/html"])
@CHECKED
@given(text=TEXTS)
def test_the_same_text_is_cut_the_same_way(content_type: str, text: str) -> None:
    """A chunker is a function."""
    assert cut(text, content_type) == cut(text, content_type)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=25,
)


@CHECKED
@given(value=JSON, indent=st.sampled_from([None, 2]), escape=st.booleans())
def test_json_pieces_lie_in_the_source_and_within_the_limit(value: object, indent: int | None, escape: bool) -> None:
    """Any JSON value can be cut; each span is itself JSON or the inside of a list."""
    text = json.dumps(value, indent=indent, ensure_ascii=escape)
    for piece in cut(text, "application/json").pieces:
        assert 0 <= piece.start < piece.end <= len(text)
        assert len(piece.text) <= SMALL.chunk_chars
        assert json.loads(f"[{text[piece.start : piece.end]}]") is not None
        assert piece.text.encode().strip() != b""


@CHECKED
@given(words=st.lists(st.sampled_from(["James", "canal", "1840", "boats", "locks"]), min_size=1, max_size=60))
def test_every_word_of_a_page_is_found_again(words: list[str]) -> None:
    """Visible text is neither lost nor repeated, whatever the tags around it."""
    page = "".join(f"<{tag}>{word}</{tag}>\n" for tag, word in zip(_cycle(words), words, strict=True))
    found = " ".join(texts_of(f"<html><body>{page}</body></html>", "text/html"))
    assert words == found.replace("|", " ").split()


def _cycle(words: list[str]) -> list[str]:
    tags = ["p", "b", "h2", "li", "td", "pre", "custom-tag"]
    return [tags[i % len(tags)] for i in range(len(words))]


MARKUP = st.lists(
    st.sampled_from(
        [
            *(
                "<p>",
                "</p>",
                "<div",
                ">",
                "<!--",
                "-->",
                "<![CDATA[",
                "]]>",
                "<![if x]>",
                "<!DOCTYPE",
                "&amp",
                "&#xD800;",
            ),
            *("&#0;", "<script>", "</script>", "<svg/>", "</head>", "<h1>", "</h1>", "<td>", "text ", "'", '"', "="),
            *("<br/>", "<?php", "\0"),
        ]
    ),
    max_size=30,
).map("".join)


@CHECKED
@given(page=MARKUP)
def test_broken_markup_is_still_cut(page: str) -> None:
    """No markup, however broken, makes the chunker fail, and its pieces are valid Unicode within the source."""
    for piece in cut(page, "text/html").pieces:
        assert 0 <= piece.start < piece.end <= len(page)
        assert piece.text.encode().strip() != b""


HOSTILE = {
    "nested fences": "     ```x\n" * 10_000,
    "open fences": "```x\n" * 30_000,
    "a heading of spaces": "# a" + " " * 200_000 + "b\n",
    "underlines": "a\n===\n" * 30_000,
    "one line": "word " * 60_000,
    "one word": "x" * 300_000,
    "blank lines": " \n" * 100_000,
    "full stops": ". " * 100_000,
    "rules": "|---" * 50_000 + "\n" + "|---" * 50_000,
    "pipes": "|\n" * 100_000,
    "tags": "<b>" * 60_000,
    "open tag": "<a " + "b" * 200_000,
    "tags that never end": "<a " * 100_000,
    "tags that end together": "<a " * 100_000 + ">",
    "comments that never end": "<!--" * 100_000,
    "comments that never end, and a mark": "<!--" * 100_000 + "<p>x",
    "instructions that never end": "<?" * 150_000,
    "values that never end": "<p a='" * 60_000,
    "values that end together": "<p a='" * 60_000 + ">",
    "blocks": "<p>x" * 30_000,
    "lists": "[" * 900 + "]" * 900,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_no_more_than_their_length(name: str) -> None:
    """No format takes time that grows with the square of the text: minutes for these, if it did."""
    began = time.perf_counter()
    for content_type in (*VERBATIM, "text/html"):
        assert all(len(text) <= SMALL.chunk_chars for text in texts_of(HOSTILE[name], content_type))
    assert time.perf_counter() - began < 20


# Markdown


def test_headings_name_the_sections() -> None:
    """A piece's section is the path of the headings above it; markup in a heading is left out."""
    text = (
        "# Richmond\n\n## The *river*\n\nIt falls over granite ledges.\n\n"
        "### [Fish](x)\n\nShad come up in spring.\n\n## War\n\nIt burned.\n"
    )
    expected = ["Richmond > The river", "Richmond > The river > Fish", "Richmond > War"]
    assert expected == sections_of(text, "text/markdown")


def test_a_heading_stays_with_what_follows() -> None:
    """No piece ends with a heading when more follows."""
    text = "Words " * 18 + "\n\n# Heading\n\n" + "More words " * 9
    assert [("Words " * 18).strip(), ("# Heading\n\n" + "More words " * 9).strip()] == texts_of(text, "text/markdown")


def test_a_hash_in_a_fence_is_no_heading() -> None:
    """Code keeps its comments, its blank lines and its indentation, and is not cut when it fits."""
    code = "```python\n# not a heading\n\ndef f():\n    return 1\n```"
    text = f"{'Before. ' * 10}\n\n{code}\n\n{'After. ' * 10}"
    assert code in texts_of(text, "text/markdown")
    assert {""} == set(sections_of(text, "text/markdown"))


def test_a_fence_ends_only_with_its_own_mark() -> None:
    """A longer fence holds a shorter one, and an open fence goes on to the end."""
    text = "````\n```\n# inside\n```\n````\n# Outside\n\nWords.\n~~~\n# still inside\n"
    kinds = [(block.kind, block.section) for block in blocks(text, 0)]
    assert kinds == [("fence", ""), ("heading", "Outside"), ("prose", "Outside"), ("fence", "Outside")]


def test_a_table_that_fits_is_not_cut() -> None:
    """Rows stay together with their head."""
    table = "| year | lock |\n|---|---|\n| 1840 | Lynchburg |\n| 1851 | Buchanan |"
    assert table in texts_of(f"{'Before. ' * 12}\n\n{table}\n\n{'After. ' * 12}", "text/markdown")


def test_each_part_of_a_large_table_repeats_the_head() -> None:
    """A table that is too large is cut between rows, and each part begins with head and rule."""
    head = "| year | event |\n|------|-------|\n"
    rows = [f"| {1800 + i} | something happened |\n" for i in range(12)]
    parts = texts_of(head + "".join(rows), "text/markdown")
    assert len(parts) > 2
    assert all(part.startswith(head) and len(part) <= SMALL.chunk_chars for part in parts)
    assert [row.strip() for row in rows] == [line for part in parts for line in part.split("\n")[2:]]


def test_front_matter_tells_title_and_type() -> None:
    """Front matter is not part of the text; a rule in the text is not front matter."""
    found = cut('---\ntitle: "A title"\nlayout: x\ntype: news\n---\n# Heading\n\nText.\n', "text/markdown")
    assert (
        found.title,
        found.source_type,
        [piece.text for piece in found.pieces],
    ) == ("A title", "news", ["# Heading\n\nText."])
    assert (cut("Text\n\n---\ntitle: x\n---\n", "text/markdown").title, "") == ("", "")


def test_sentences_are_not_cut_when_paragraphs_are() -> None:
    """A paragraph that is too large falls into whole sentences."""
    sentences = [f"Sentence number {i} tells of the {i}th lock." for i in range(12)]
    parts = texts_of(" ".join(sentences), "text/markdown")
    assert all(part.endswith(".") and part.startswith("Sentence") for part in parts)


# Text, code, CSV


def test_underlined_lines_are_headings_in_plain_text() -> None:
    """The first style of underline is the outermost heading, as in reStructuredText."""
    text = (
        "Canals\n======\n\n"
        + "Boats. " * 8
        + "\n\nLocks\n-----\n\n"
        + "Gates. " * 8
        + "\n\nRoads\n=====\n\n"
        + "Dust. " * 8
    )
    assert sections_of(text, "text/plain") == ["Canals", "Canals > Locks", "Roads"]
    assert cut(text, "text/plain").title == "Canals"


def test_a_short_first_line_that_stands_alone_is_the_title() -> None:
    """A first line that belongs to a paragraph is none."""
    assert cut("The canals\n\nText.", "text/plain").title == "The canals"
    assert cut("The canals\nof Richmond.", "text/plain").title == ""
    assert cut("The canals", "text/plain").title == ""


def test_code_is_cut_between_definitions() -> None:
    """A piece of code begins at a line without indentation behind a blank line, and keeps its indentation."""
    functions = [f"def f{i}(x):\n    if x:\n        return {i}\n\n    return 'a word'" for i in range(6)]
    parts = texts_of("\n\n\n".join(functions) + "\n", "text/x-source")
    assert len(parts) > 1
    assert all(part.startswith("def f") for part in parts)


def test_every_part_of_a_csv_file_names_the_columns() -> None:
    """The first line is repeated."""
    parts = texts_of("year,place\n" + "".join(f"18{i},Lock number {i}\n" for i in range(10, 30)), "text/csv")
    assert len(parts) > 2
    assert all(part.startswith("year,place\n18") for part in parts)


# HTML


def test_only_what_is_visible_is_kept() -> None:
    """Head, scripts, styles, navigation and comments are not text; title and type are known."""
    page = """<html><head><title> A &amp; B </title><meta name="type" content="news"><style>p {}</style></head>
        <body><nav>Menu</nav><!-- comment --><script>var x = "<p>no</p>";</script><p>Seen &eacute; <b>bo</b>ld</p>"""
    found = cut(page, "text/html")
    assert (found.title, found.source_type, [p.text for p in found.pieces]) == ("A & B", "news", ["Seen é bold"])


def test_a_head_that_is_not_closed_does_not_hide_the_body() -> None:
    """Where the closing tag of the head is missing, the body begins all the same."""
    assert texts_of("<head><title>T</title><body><p>Text", "text/html") == ["Text"]


def test_what_is_behind_a_mark_that_never_ends_is_not_shown_and_a_mere_sign_is_text() -> None:
    """As in a browser: an open comment or tag hides the rest; a ``<`` before a space or a figure is text."""
    assert texts_of("<p>Shown.</p><!-- hidden <p>hidden</p>", "text/html") == ["Shown."]
    assert texts_of("<p>Shown.</p><a href='hidden", "text/html") == ["Shown."]
    assert texts_of("<!-- over --><p>5 < 6 and 7 <8</p> so it is, a < b", "text/html") == [
        "5 < 6 and 7 <8\nso it is, a < b"
    ]


def test_html_spans_hold_the_source() -> None:
    """A piece's span is the stretch of source that its text comes from, also on later lines and behind entities."""
    page = (
        "<p>Tobacco &amp; iron</p>\n\n  <h2>Canals</h2>\n<p>Boats on\n the water and a long sentence to go on with</p>"
    )
    pieces = cut(page, "text/html", IngestionConfig(chunk_chars=100, min_chars=10)).pieces
    assert [page[piece.start : piece.end] for piece in pieces] == [
        "Tobacco &amp; iron",
        "Canals</h2>\n<p>Boats on\n the water and a long sentence to go on with",
    ]


def test_preformatted_text_keeps_its_lines() -> None:
    """Space has a meaning in code."""
    assert texts_of("<pre>\ndef f():\n    return 1\n</pre>", "text/html") == ["def f():\n    return 1"]


def test_rows_of_a_table_are_lines() -> None:
    """Cells of a row stay on one line."""
    table = "<table><tr><th>year</th><th>lock</th></tr><tr><td>1840</td><td>Lynchburg</td></tr></table>"
    assert texts_of(table, "text/html") == ["year | lock\n1840 | Lynchburg"]


# JSON


def test_each_record_of_a_list_is_a_piece() -> None:
    """Records are rendered as lines, named by their name, with the span of their source."""
    row = '{"name": "The Fan", "known_for": ["trees", "cafés"]}'
    text = f'{{"title": "Places", "source_type": "news", "rows": [{row}, {{"id": 7}}]}}'
    found = cut(text, "application/json")
    assert (found.title, found.source_type) == ("Places", "news")
    first, second = found.pieces
    assert (first.text, first.section) == ("name: The Fan\nknown for: trees, cafés", "rows > The Fan")
    assert row == text[first.start : first.end]
    assert (second.text, second.section) == ("id: 7", "rows > 7")


def test_an_object_of_objects_is_cut_at_its_keys() -> None:
    """Settings and dictionaries fall into their entries."""
    text = '{"canal": {"miles": 197, "built": {"from": 1785}}, "rail": {"miles": null, "electric": true}}'
    assert [(piece.section, piece.text) for piece in cut(text, "application/json").pieces] == [
        ("canal", "miles: 197\nbuilt from: 1785"),
        ("rail", "electric: true"),
    ]


def test_lines_of_json_are_records() -> None:
    """Each line is a piece; blank lines are passed over."""
    text = '{"event": "fire"}\n\n{"event": "flood"}\n'
    assert texts_of(text, "application/x-ndjson") == ["event: fire", "event: flood"]


def test_lone_surrogates_are_replaced() -> None:
    """JSON can write half a character, which no store could keep."""
    assert texts_of('[{"name": "a\\ud800b"}]', "application/json") == ["name: a?b"]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1} x', "[1,]", "'a'", '{"a": 1}{"b": 2}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    """A broken file is an error of that file, not half a document."""
    with pytest.raises(ValueError, match=r"not JSON|char|Expecting|Illegal"):
        cut(text, "application/json")


# Types, identities


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("a.MD", "", "text/markdown"),
        ("a/b.html", "", "text/html"),
        ("a.json", "x", "application/json"),
        ("a.jsonl", "", "application/x-ndjson"),
        ("a.py", "", "text/x-source"),
        ("a.csv", "", "text/csv"),
        ("README", "Words", "text/plain"),
        ("page", "  <!DOCTYPE HTML><p>", "text/html"),
        ("script", "#!/bin/sh\n", "text/x-source"),
        ("a.xyz", "Words", "text/plain"),
        (".md", "Words", "text/plain"),
    ],
)
def test_the_type_is_told_by_name_and_beginning(uri: str, text: str, expected: str) -> None:
    """The suffix decides, in any case; without a known one the first characters do."""
    assert expected == content_type_of(uri, text)


def test_an_unknown_type_is_cut_as_text() -> None:
    """There is a chunker for everything."""
    chunkers = builtin_chunkers(SMALL)
    assert chunkers["text/plain"] is pick_chunker(chunkers, "application/x-unheard-of")


def _chunks(pieces: list[str], uri: str = "a.md", model: str = "m") -> list[str]:
    document = Document(uri, "", "text/plain")
    chunked = Chunked([Piece(text, 0, 1) for text in pieces], "T")
    return [chunk.id for chunk in make_chunks(document, chunked, place=("p", uri), model=model)]


def test_ids_follow_the_text_and_not_its_place() -> None:
    """A piece keeps its id when others come before it; equal pieces of one document have ids of their own."""
    assert _chunks(["b", "c"]) == _chunks(["a", "b", "c"])[1:]
    assert len(set(_chunks(["a", "a", "a"]))) == 3
    assert _chunks(["a", "a"]) == _chunks(["a", "a", "a"])[:2]
    assert all(len(id_) == 32 and id_.isascii() and id_.isalnum() for id_ in _chunks(["ä", "b"]))


def test_ids_differ_between_documents_and_models() -> None:
    """The same words in another document, or for another model, are another chunk."""
    assert dict.fromkeys(set(_chunks(["a"])) & set(_chunks(["a"], uri="b.md"))) == {}
    assert set(_chunks(["a"])).isdisjoint(_chunks(["a"], model="n"))


def test_identities_are_made_of_framed_parts() -> None:
    """Where one part ends and the next begins makes a difference."""
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab", ""]) != digest(["ab"])


def test_blank_pieces_of_a_foreign_chunker_are_dropped() -> None:
    """What says nothing cannot be embedded."""
    assert _chunks(["a", "b"]) == _chunks(["a", " \n", "b", ""])


def _one_chunker(document: Document) -> Chunked:
    return Chunked([Piece(document.text, 0, len(document.text))])


class _Versioned:
    fingerprint = "v2"

    def __call__(self, document: Document, /) -> Chunked:
        return _one_chunker(document)


@pytest.mark.parametrize(
    ("chunker", "expected"),
    [(_one_chunker, "test_chunkers._one_chunker"), (_Versioned(), "v2")],
    ids=["function", "own"],
)
def test_a_foreign_chunker_is_known_by_its_fingerprint_or_name(chunker: Callable[..., Chunked], expected: str) -> None:
    """A chunker may tell its version; else its name stands for it."""
    assert chunker_fingerprint(chunker).endswith(expected)


def test_options_of_a_built_in_chunker_are_part_of_its_fingerprint() -> None:
    """Other limits cut otherwise."""
    first, second = (builtin_chunkers(config)["text/plain"] for config in (SMALL, IngestionConfig()))
    assert chunker_fingerprint(first) != chunker_fingerprint(second)


def test_a_realistic_page_is_cut_as_expected() -> None:
    """Small sections join their neighbour, large ones fall into paragraphs."""
    page = dedent("""\
        # Museums

        ## Arts

        The museum opened in 1936. Admission is free, and the galleries are open every day of the year for all.

        ## City

        Since 1898.

        ## Gardens

        A hundred acres of lawns above the river, with an Italian garden, a waterfall and otters.
        """)
    pieces = cut(page, "text/markdown", IngestionConfig(chunk_chars=200, min_chars=60)).pieces
    assert [piece.section for piece in pieces] == ["Museums > Arts", "Museums > City"]
    assert pieces[1].text.startswith("## City") and pieces[1].text.endswith("otters.")


def test_a_heading_is_not_left_alone_above_a_full_paragraph() -> None:
    """Where heading and paragraph do not fit together, the paragraph is cut between sentences."""
    for heading, content_type in (
        ("# Iron\n\n", "text/markdown"),
        ("Iron\n====\n\n", "text/plain"),
        ("<h1>Iron</h1>", "text/html"),
    ):
        first, second = texts_of(
            heading + "The forge opened by the canal in 1837 or so. " * 2 + "And " * 7, content_type
        )
        assert ("Iron" in first, "forge" in first, second.startswith("And")) == (True, True, True), content_type


def test_the_corpus_is_cut_into_chunks_that_a_model_can_see() -> None:
    """No document of the corpus falls into crumbs or lumps."""
    chunkers = builtin_chunkers(IngestionConfig())
    for path in sorted(file for file in richmond().rglob("*") if file.is_file()):
        text = path.read_text(encoding="utf-8")
        content_type = content_type_of(path.name, text)
        lengths = [len(piece.text) for piece in chunkers[content_type](Document(path.name, text, content_type)).pieces]
        assert len(lengths) >= 3, path.name
        assert min(lengths) >= 100, path.name
        assert max(lengths) <= 900, path.name
