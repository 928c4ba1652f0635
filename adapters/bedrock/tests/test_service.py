"""What the adapter makes of the service's refusals, limits and silence; on the local server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextvars import ContextVar

import pytest
from botocore.client import BaseClient
from storycore_bedrock.testing import Knobs

from storycore.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    InvalidArgument,
    NotProvisioned,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore.ports.embeddings import Embedder
from storycore.ports.metering import Meter
from storycore.ports.reranking import Reranker
from storycore.testing.embedding_examples import farthest
from storycore.testing.harness import Harness

FINAL = {
    ("AccessDeniedException", 403): (AccessDenied, "Model access"),
    ("UnrecognizedClientException", 403): (AccessDenied, "credentials"),
    ("ExpiredTokenException", 403): (AccessDenied, "clock"),
    ("ResourceNotFoundException", 404): (NotProvisioned, "region"),
    ("ValidationException", 400): (InvalidArgument, "on order"),
    ("SomethingNew", 400): (InvalidArgument, "SomethingNew"),
}
PASSING = {
    ("ThrottlingException", 429): Throttled,
    ("ServiceQuotaExceededException", 400): Throttled,
    ("ModelNotReadyException", 429): Unavailable,
    ("ModelTimeoutException", 408): Unavailable,
    ("ModelErrorException", 424): Unavailable,
    ("ServiceUnavailableException", 503): Unavailable,
    ("InternalServerException", 500): Unavailable,
    ("SomethingNew", 502): Unavailable,
}


@pytest.mark.parametrize(("code", "status"), FINAL)
async def test_a_final_refusal_is_not_repeated(embedder: Embedder, knobs: Knobs, code: str, status: int) -> None:
    """What a repetition cannot help is raised after one request, in storycore's words and with its cure."""
    kind, cure = FINAL[code, status]
    knobs.refuse(code, status=status)
    with pytest.raises(kind, match=cure) as caught:
        await embedder.embed(["river"], purpose="query")
    assert (kind, 1) == (type(caught.value), len(knobs.seen()))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(("code", "status"), PASSING)
async def test_a_passing_refusal_is_repeated(embedder: Embedder, knobs: Knobs, code: str, status: int) -> None:
    """What a pause can help is sent again, as often as ``max_attempts`` says, and then raised."""
    knobs.refuse(code, status=status, times=2)
    assert len(await embedder.embed(["river"], purpose="query")) == 1
    knobs.refuse(code, status=status, times=3)
    with pytest.raises(PASSING[code, status]):
        await embedder.embed(["river"], purpose="query")
    assert len(knobs.seen()) == 6


async def test_the_pause_that_the_service_asks_for_is_kept(embedder: Embedder, knobs: Knobs) -> None:
    """``Retry-After`` is waited for by all requests, also those of others, and told when attempts are used up."""
    knobs.refuse("ThrottlingException", status=429, retry_after=0.05)
    begun = time.monotonic()
    first = asyncio.create_task(embedder.embed(["river"], purpose="query"))
    await asyncio.sleep(0.02)
    await embedder.embed(["bridge"], purpose="query")
    assert time.monotonic() - begun >= 0.05
    await first
    knobs.refuse("ThrottlingException", status=429, retry_after=0.01, times=3)
    with pytest.raises(Throttled) as caught:
        await embedder.embed(["river"], purpose="query")
    assert caught.value.retry_after_seconds == 0.01


@pytest.mark.parametrize("text", ["河流穿过城市。" * 2000, "🎻" * 30_000, "a b " * 9000, "river " * 20_000])
async def test_a_text_that_is_too_long_is_cut_until_it_is_taken(embedder: Embedder, knobs: Knobs, text: str) -> None:
    """However many tokens a text has, it gets a vector, which is that of its beginning."""
    (vector,) = await embedder.embed([text], purpose="document")
    taken = knobs.seen()[-1]["inputText"]
    assert text.startswith(taken)
    assert len(taken) >= 1500
    (again,) = await embedder.embed([taken], purpose="document")
    assert farthest(vector, again) <= 1e-6


async def test_a_text_too_long_does_not_change_its_neighbours(harness: Harness, knobs: Knobs) -> None:
    """Of a batch with a text that the service refuses, each text gets the vector that it has alone."""
    async with harness.make(model="cohere.embed-english-v3") as cohere:
        texts = ["river " * 200, "🎻" * 2000, "a bridge " * 100]
        whole = await cohere.embed(texts, purpose="document")
        knobs.refuse("ValidationException", message="Too many input tokens. Max input tokens: 512")
        parts = await cohere.embed(texts, purpose="document")
        assert max(map(farthest, whole, parts)) <= 1e-6
    assert [len(request["texts"]) for request in knobs.seen()] == [3, 3, 1, 1, 1]


@pytest.mark.parametrize("length", [16_000, 16_001, 31_999, 32_000, 40_000])
async def test_texts_to_rerank_are_cut_as_the_service_counts(reranker: Reranker, knobs: Knobs, length: int) -> None:
    """A character beyond U+FFFF counts twice, and none is cut in the middle."""
    texts = ["x" + "🎻" * length, "x" * length, "é" * length]
    assert len(await reranker.rerank("y" + "🎻" * length, texts)) == 3
    [request] = knobs.seen()
    sent = [source["inlineDocumentSource"]["textDocument"]["text"] for source in request["sources"]]
    assert [len(text) for text in sent] == [1 + min(length, 15_999), min(length, 32_000), min(length, 32_000)]


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", "null", '{"embedding": []}', '{"embedding": [1, 2]}', '{"embedding": "x"}', "<html>"]
    + [f'{{"embedding": {[value] * 256}}}' for value in (0, "x", 1e300)],
)
async def test_an_answer_that_is_none_is_unavailable(embedder: Embedder, knobs: Knobs, body: str) -> None:
    """What is no vector of the dimension, or has no direction, is never handed on."""
    knobs.answer(body.replace("'", '"'), times=3)
    with pytest.raises(Unavailable, match="answered with"):
        await embedder.embed(["river"], purpose="query")


async def test_tokens_are_counted(embedder: Embedder) -> None:
    """``native(Meter)`` tells requests and tokens, which are what is paid."""
    await embedder.embed(["one two three", "four"], purpose="document")
    assert embedder.native(Meter).consumed() == {"InvokeModel": {"calls": 2, "tokens": 4}}


async def test_results_in_pages_are_put_together(reranker: Reranker, knobs: Knobs) -> None:
    """A reranking whose results come in pages gives each text its score."""
    texts = ["the river falls", "nothing of it", "a river"]
    whole = await reranker.rerank("river falls", texts)
    knobs.pages_of(2)
    try:
        assert whole == await reranker.rerank("river falls", texts)
    finally:
        knobs.pages_of(None)
    assert whole == [1.0, 0.0, 0.5]
    assert [body.get("nextToken") for body in knobs.seen()] == [None, None, "2"]


async def test_a_reranking_that_leaves_texts_out_is_unavailable(reranker: Reranker, knobs: Knobs) -> None:
    """Each text has to be scored once and finitely."""
    knobs.answer('{"results": [{"index": 1, "relevanceScore": 0.5}]}', times=3)
    with pytest.raises(Unavailable, match="2 texts"):
        await reranker.rerank("river", ["a", "b"])


@pytest.mark.parametrize("body", ["{}", '{"results": null}', '{"results": [{"index": 0}]}', '{"results": [{}]}'])
async def test_scores_that_are_none_are_unavailable(reranker: Reranker, knobs: Knobs, body: str) -> None:
    """An answer that is no answer is ``Unavailable``, after every attempt, and no error of Python's."""
    knobs.answer(body, times=3)
    with pytest.raises(Unavailable, match=r"scores|did not score"):
        await reranker.rerank("river", ["a"])


async def test_pages_without_end_are_not_followed(reranker: Reranker, knobs: Knobs) -> None:
    """A service that goes on naming another page is asked no more often than there are texts."""
    endless = '{"results": [{"index": 0, "relevanceScore": 0.5}], "nextToken": "1"}'
    knobs.answer(endless, times=6)
    with pytest.raises(Unavailable, match="2 texts"):
        await reranker.rerank("river", ["a", "b"])
    assert len(knobs.seen()) == 6


async def test_the_rerankers_refusals_are_translated(reranker: Reranker, harness: Harness, knobs: Knobs) -> None:
    """One table serves both ports."""
    knobs.refuse("ThrottlingException", status=429, times=3)
    with pytest.raises(Throttled):
        await reranker.rerank("river", ["a"])
    assert [body["path"] for body in knobs.seen()] == ["/rerank"] * 3


async def test_nobody_there_is_unavailable(harness: Harness) -> None:
    """A refused connection is ``Unavailable``, and health tells it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = harness.make(endpoint_url=f"http://127.0.0.1:{port}", max_attempts=1)
    async with made as embedder:
        with pytest.raises(Unavailable, match="endpoint_url"):
            await embedder.embed(["river"], purpose="query")
        assert (await embedder.health()).ok is False


async def test_silence_ends_by_the_timeout(harness: Harness) -> None:
    """A server that never answers is ``DeadlineExceeded``, of which nothing was written."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        made = harness.make(endpoint_url=address, read_timeout_seconds=0.03, max_attempts=1)
        async with made as embedder:
            with pytest.raises(DeadlineExceeded, match="read_timeout_seconds"):
                await embedder.embed(["river"], purpose="query")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"endpoint_url": "nonsense"}, ConfigError),
        ({"region": "no region"}, ConfigError),
        ({"profile_name": "nobody-has-this"}, AccessDenied),
    ],
)
async def test_what_cannot_be_opened_says_so(
    harness: Harness, settings: dict[str, str], kind: type[StorycoreError]
) -> None:
    """A wrong endpoint, region or profile is found when the embedder opens, not when it is first used."""
    with pytest.raises(kind):
        await harness.make(**settings).open()


async def test_closing_fails_what_has_not_begun_and_ends_the_threads(harness: Harness) -> None:
    """Callers whose requests wait get ``Unavailable``; no thread stays."""
    embedder = await harness.started(connections=1)
    waiting = asyncio.create_task(embedder.embed([f"text {i}" for i in range(200)], purpose="document"))
    await asyncio.sleep(0.02)
    await embedder.close()
    with pytest.raises(Unavailable):
        await waiting
    for thread in threading.enumerate():
        if thread.name.startswith("storycore-bedrock"):
            thread.join(5)
    assert [each for each in threading.enumerate() if each.name.startswith("storycore-bedrock")] == []


async def test_only_so_many_requests_go_at_once(harness: Harness) -> None:
    """``connections`` bounds the threads of an embedder, however many texts there are."""
    async with harness.make(connections=3) as embedder:
        await embedder.embed([f"text {i}" for i in range(50)], purpose="document")
        names = [each.name for each in threading.enumerate() if each.name.startswith("storycore-bedrock")]
        assert (1 <= len(names) <= 3, {"embedder.batch": 1, "embedder.calls": 3}) == (
            True,
            embedder.capabilities.limits,
        )


async def test_a_request_is_sent_in_its_callers_context(embedder: Embedder) -> None:
    """So that whatever watches boto3, as OpenTelemetry's instrumentation does, knows on whose behalf it is sent."""
    who, seen = ContextVar("who", default=""), list[str]()
    embedder.native(BaseClient).meta.events.register("before-send", lambda **_: seen.append(who.get()))
    who.set("ada")
    await embedder.embed(["river"], purpose="query")
    assert seen == ["ada"]
