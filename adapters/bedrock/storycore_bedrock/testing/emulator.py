"""The process of the emulator: it says its port, serves, and ends with its parent. Run by its path.

Vectors are words and trigrams hashed into buckets, scores are shares of words: deterministic, and without meaning.
"""

from __future__ import annotations

import math
import os
import re
import signal
import socketserver
import sys
import threading
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import orjson

__all__ = ["main"]

_HOST = "127.0.0.1"
_TOKEN = re.compile(r"\w{1,8}|[^\w\s]")
_TITAN = "amazon.titan-embed-text-v2:0"
_COHERE = ("cohere.embed-english-v3", "cohere.embed-multilingual-v3")
_RERANKERS = ("amazon.rerank-v1:0", "cohere.rerank-v3-5:0")
_TITAN_TOKENS, _TITAN_CHARACTERS, _TITAN_DIMENSIONS = 8192, 50_000, (256, 512, 1024)
_COHERE_TEXTS, _COHERE_CHARACTERS, _COHERE_TOKENS, _COHERE_DIMENSION = 96, 2048, 512, 1024
_SOURCES, _SOURCE_CHARACTERS = 1000, 32_000


class Refusal(Exception):
    """An error of the service."""

    def __init__(self, code: str, message: str, *, status: int = 400, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after


class State:
    """What the knobs have turned, and what was seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.refusals: deque[dict[str, Any]] = deque()
        self.answers: deque[str] = deque()
        self.page: int | None = None
        self.seen: list[dict[str, Any]] = []

    def turned(self, order: dict[str, Any]) -> dict[str, Any]:
        """Follow an order; what was seen since this was last asked for, if it is asked for."""
        with self.lock:
            self.refusals.extend(order.get("refuse", ()))
            self.answers.extend(order.get("answer", ()))
            self.page = order.get("page", self.page)
            if not order.get("tell"):
                return {}
            seen, self.seen = self.seen, []
            return {"seen": seen}

    def noted(self, path: str, body: dict[str, Any]) -> str | None:
        """Note a request; the answer that was ordered, if any, and the refusal that was ordered raised."""
        with self.lock:
            self.seen.append({"path": path, **body})
            if self.refusals:
                told = self.refusals.popleft()
                raise Refusal(told["code"], told["message"], status=told["status"], retry_after=told["retry_after"])
            return self.answers.popleft() if self.answers else None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: State

    def do_POST(self) -> None:
        """Answer a request."""
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path == "/_knobs":
            self._say(200, orjson.dumps(self.state.turned(body)), {})
            return
        try:
            ordered = self._permitted(body)
            found, tokens = answered(unquote(self.path), body, self.state.page)
            told = orjson.dumps(found) if ordered is None else ordered.encode()
            self._say(200, told, {"X-Amzn-Bedrock-Input-Token-Count": str(tokens)})
        except Refusal as refusal:
            after = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
            self._say(
                refusal.status, orjson.dumps({"message": refusal.message}), {"x-amzn-ErrorType": refusal.code, **after}
            )

    def _permitted(self, body: dict[str, Any]) -> str | None:
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
        return self.state.noted(unquote(self.path), body)

    def _say(self, status: int, told: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(told)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: standard error is for failures."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


def answered(path: str, body: dict[str, Any], page: int | None) -> tuple[dict[str, Any], int]:
    """The answer to a request and the tokens that it counts.

    Raises:
        Refusal: the service would refuse it.
    """
    if path == "/rerank":
        return _reranked(body, page), 0
    match = re.fullmatch(r"/model/(.+)/invoke", path)
    name = match[1] if match else path
    if name.endswith(_TITAN):
        return _titan(body)
    if name.endswith(_COHERE):
        return _cohere(body)
    raise Refusal("ValidationException", "The provided model identifier is invalid.")


def _titan(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    text, dimension = body.get("inputText"), body.get("dimensions", 1024)
    if not isinstance(text, str) or not text:
        raise Refusal("ValidationException", "Malformed input request: expected minLength: 1, actual: 0.")
    if _length(text) > _TITAN_CHARACTERS:
        raise Refusal(
            "ValidationException",
            f"Malformed input request: expected maxLength: {_TITAN_CHARACTERS}, actual: {_length(text)}, please "
            "reformat your input and try again.",
        )
    if dimension not in _TITAN_DIMENSIONS or set(body) - {"inputText", "dimensions", "normalize", "embeddingTypes"}:
        raise Refusal("ValidationException", "Malformed input request, please reformat your input and try again.")
    tokens = len(_TOKEN.findall(text))
    if tokens > _TITAN_TOKENS:
        raise Refusal(
            "ValidationException",
            f"400 Bad Request: Too many input tokens. Max input tokens: {_TITAN_TOKENS}, request input token count: "
            f"{tokens}",
        )
    vector = _hashed(text, dimension)
    return {"embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": tokens}, tokens


def _cohere(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    texts, kind = body.get("texts"), body.get("input_type")
    if not isinstance(texts, list) or not 0 < len(texts) <= _COHERE_TEXTS:
        raise Refusal("ValidationException", f"Malformed input request: #/texts: expected maxItems: {_COHERE_TEXTS}.")
    if any(_length(text) > _COHERE_CHARACTERS for text in texts):
        raise Refusal("ValidationException", f"Malformed input request: expected maxLength: {_COHERE_CHARACTERS}.")
    if kind not in ("search_document", "search_query", "classification", "clustering"):
        raise Refusal("ValidationException", "Malformed input request: #/input_type: unknown.")
    tokens = [_TOKEN.findall(text) for text in texts]
    if body.get("truncate", "NONE") == "NONE" and any(len(each) > _COHERE_TOKENS for each in tokens):
        raise Refusal("ValidationException", f"too many tokens: limit is {_COHERE_TOKENS} tokens")
    seen = [" ".join(each[:_COHERE_TOKENS]) or text for each, text in zip(tokens, texts, strict=True)]
    vectors = [_hashed(f"{kind} {text}", _COHERE_DIMENSION) for text in seen]
    found = {"id": "local", "response_type": "embeddings_floats", "embeddings": vectors, "texts": texts}
    return found, sum(map(len, tokens))


def _reranked(body: dict[str, Any], page: int | None) -> dict[str, Any]:
    configuration = body["rerankingConfiguration"]["bedrockRerankingConfiguration"]
    if not configuration["modelConfiguration"]["modelArn"].endswith(_RERANKERS):
        raise Refusal("ResourceNotFoundException", "The model does not exist.", status=404)
    [query] = [one["textQuery"]["text"] for one in body["queries"]]
    sources = [one["inlineDocumentSource"]["textDocument"]["text"] for one in body["sources"]]
    if not 0 < len(sources) <= _SOURCES or any(
        not 0 < _length(text) <= _SOURCE_CHARACTERS for text in (query, *sources)
    ):
        raise Refusal("ValidationException", "1 validation error detected: a source or the query is of a wrong length.")
    scores = [{"index": i, "relevanceScore": _share(query, text)} for i, text in enumerate(sources)]
    ranked = sorted(scores, key=lambda result: -result["relevanceScore"])[: configuration.get("numberOfResults")]
    start = int(body.get("nextToken", 0))
    end = len(ranked) if page is None else min(start + page, len(ranked))
    following = {"nextToken": str(end)} if end < len(ranked) else {}
    return {"results": ranked[start:end], **following}


def _length(text: str) -> int:
    """As Java counts: of characters beyond U+FFFF two, which is what is harder for a client."""
    return len(text.encode("utf-16-le")) // 2


def _share(query: str, text: str) -> float:
    wanted, found = set(_words(query)), set(_words(text))
    return len(wanted & found) / len(wanted) if wanted else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _hashed(text: str, dimension: int) -> list[float]:
    framed = f" {text.casefold()} "
    counts = Counter(framed[start : start + 3] for start in range(len(framed) - 2))
    counts.update({f"#{word}": 3 * number for word, number in Counter(_words(text)).items()})
    buckets = [0.0] * dimension
    for feature, number in counts.items():
        code = crc32(feature.encode())
        buckets[(code >> 1) % dimension] += (1.0 if code & 1 else -1.0) * math.log1p(number)
    length = math.sqrt(math.fsum(value * value for value in buckets))
    if length == 0.0:
        buckets[crc32(framed.encode()) % dimension] = length = 1.0
    return [value / length for value in buckets]


def main() -> None:
    """Serve on the port that the argument says until standard input ends, which it does however the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the parent decides
    Handler.state = State()
    with Server((_HOST, int(sys.argv[1])), Handler) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
        server.serve_forever()


def _end_with_the_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
