"""Answers are put together however they arrive, and what is no answer is never taken for one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb._http import AnswerReader, Garbled, HttpAnswer

KEEN = settings(max_examples=40, deadline=None, derandomize=True)
BODIES = st.binary(max_size=60)


def counted(body: bytes) -> bytes:
    """An answer that says its length."""
    return b"HTTP/1.1 200 OK\r\nX-One: 1\r\ncontent-LENGTH: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """An answer in chunks, with an extension and a trailer."""
    parts, rest = [b"HTTP/1.1 200 OK\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n"], body
    for size in sizes:
        part, rest = rest[:size], rest[size:]
        if part:
            parts.append(b"%X;a=b\r\n%b\r\n" % (len(part), part))
    if rest:
        parts.append(b"%x\r\n%b\r\n" % (len(rest), rest))
    return b"".join([*parts, b"0\r\nTrailer: t\r\n\r\n"])


def fed(pieces: list[bytes]) -> list[HttpAnswer]:
    """The answers that come out of these pieces."""
    reader = AnswerReader()
    found = [reader.feed(piece) for piece in pieces]
    assert reader.is_empty
    return [answer for answer in found if answer is not None]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at some places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


@KEEN
@given(BODIES, st.lists(st.integers(1, 20), max_size=5), st.lists(st.integers(0, 300), max_size=8), st.booleans())
def test_an_answer_is_the_same_however_it_arrives(
    body: bytes, sizes: list[int], cuts: list[int], is_chunked: bool
) -> None:
    """Cut anywhere, in chunks or not, behind an interim answer: one answer, with this body."""
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + (chunked(body, sizes) if is_chunked else counted(body))
    (answer,) = fed(pieces(data, cuts))
    assert (answer.status, answer.body, answer.keeps_alive, answer.headers[b"x-one"]) == (200, body, True, b"1")


@KEEN
@given(st.lists(BODIES, min_size=1, max_size=4))
def test_answers_follow_each_other(bodies: list[bytes]) -> None:
    """What one answer left behind is not part of the next."""
    data = [counted(body) if n % 2 else chunked(body, [3]) for n, body in enumerate(bodies)]
    assert [answer.body for answer in fed(data)] == bodies


@KEEN
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_noise_is_no_answer(noise: bytes, cuts: list[int]) -> None:
    """Random bytes give nothing, or are called garbled."""
    reader = AnswerReader()
    try:
        assert [reader.feed(piece) for piece in pieces(noise + b"\r\n\r\n", cuts)][-1:] in ([], [None])
    except Garbled:
        return


@pytest.mark.parametrize(
    ("first", "headers", "keeps_alive"),
    [
        (b"HTTP/1.1 200 OK", b"", True),
        (b"HTTP/1.1 200", b"Connection: Close\r\n", False),
        (b"HTTP/1.0 200 OK", b"", False),
        (b"HTTP/1.0 200 OK", b"Connection: keep-alive\r\n", True),
    ],
)
def test_an_answer_says_whether_its_connection_lives_on(first: bytes, headers: bytes, keeps_alive: bool) -> None:
    """As HTTP/1.0 and 1.1 differ."""
    (answer,) = fed([first + b"\r\n" + headers + b"Content-Length: 0\r\n\r\n"])
    assert answer.keeps_alive is keeps_alive


def test_what_follows_unasked_ends_the_connection() -> None:
    """Bytes behind an answer belong to no request, so nothing is sent after it."""
    answer = AnswerReader().feed(counted(b"{}") + b"H")
    assert answer is not None
    assert answer.keeps_alive is False


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 0200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n folded: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_garbled(data: bytes) -> None:
    """Other protocols, answers of no or of two lengths, broken chunks, and heads without end."""
    with pytest.raises(Garbled):
        AnswerReader().feed(data)
