"""Requests and answers of the JSON protocol: the same values, and the same two ways to fail, as botocore gives."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from http.client import responses
from typing import Any
from zlib import crc32

import orjson

from storycore.errors import Effect
from storycore_dynamodb._http import HttpAnswer
from storycore_dynamodb._transport import Answer, Lost, Refused, Request

__all__ = ["answer_of", "body_of"]


def body_of(request: Request) -> bytes:
    """The body of a request; bytes become base64.

    Raises:
        Refused: a value is nothing that JSON has.
    """
    try:
        return orjson.dumps(request, default=_json)
    except TypeError as exc:
        raise Refused("SerializationException", "the request holds a value that JSON does not have") from exc


def answer_of(http: HttpAnswer) -> Answer:
    """The answer to a request.

    Raises:
        Refused: the service says no.
        Lost: what arrived is not what the service sent.
    """
    _require_whole(http)
    if http.status >= 300:
        raise _refused(http)
    try:
        answer = _loaded(http.body)
    except ValueError as exc:
        raise Lost("the answer is no JSON", effect=Effect.UNKNOWN) from exc
    if not isinstance(answer, dict):
        raise Lost("the answer is no object", effect=Effect.UNKNOWN)
    return answer


def _json(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def _loaded(body: bytes) -> Any:  # JSON
    """The value of a body, with bytes where attribute values are binary; most bodies have none."""
    value = orjson.loads(body) if body else {}
    return _with_bytes(value) if b'"B"' in body or b'"BS"' in body else value


def _with_bytes(value: Any) -> Any:  # JSON
    if isinstance(value, list):
        return [_with_bytes(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, held),) = value.items()
        if kind == "B" and isinstance(held, str):
            return {"B": b64decode(held)}
        if kind == "BS" and isinstance(held, list) and all(isinstance(member, str) for member in held):
            return {"BS": [b64decode(member) for member in held]}
    return {name: _with_bytes(inner) for name, inner in value.items()}


def _require_whole(http: HttpAnswer) -> None:
    if http.headers.get(b"content-encoding", b"identity") != b"identity":
        raise Lost("the answer is encoded, which nobody asked for", effect=Effect.UNKNOWN)
    said = http.headers.get(b"x-amz-crc32")
    if said is not None and said != b"%d" % crc32(http.body):
        raise Lost("the answer's checksum is wrong", effect=Effect.UNKNOWN)


def _refused(http: HttpAnswer) -> Refused:
    status = str(http.status)
    told = _told(http)
    code = str(told.get("__type", status)).split(":", 1)[0].rsplit("#", 1)[-1]
    after = http.headers.get(b"retry-after", b"").decode("latin-1")
    message = told.get("message", told.get("Message", ""))
    return Refused(code, str(message), answer=told, retry_after_seconds=_seconds(after))


def _told(http: HttpAnswer) -> dict[str, Any]:
    """The object of an error; of a page of a proxy, what its status means."""
    text = http.body.strip()
    if http.status >= 500 and (not text or text.startswith(b"<html>")):
        return {"message": responses.get(http.status, "")}
    try:
        told = _loaded(http.body)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"message": http.body.decode(errors="replace")}


def _seconds(header: str) -> float | None:
    try:
        return float(header)
    except ValueError:
        return None
