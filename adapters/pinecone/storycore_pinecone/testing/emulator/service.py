"""From a request to its answer: who asks, what for, what was ordered to fail, and what is noted of it."""

from __future__ import annotations

import re
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from .calls import Answer, Call
from .catalog import Catalog, Index
from .faults import Fault, Faults
from .knobs import Knobs
from .limits import API_VERSION
from .reads import Reads
from .records import namespace_of
from .refusals import Refusal, Unauthorized, control_body, data_body
from .scoring import Ranking
from .spaces import Spaces
from .writes import Writes, lsn_header

__all__ = ["Request", "Response", "Service"]

_SEED: Final = 20260701
_NOTES: Final = 1_000
_THROTTLED: Final = frozenset({"query", "upsert", "update", "delete"})
_Operation = Callable[[Index, Call, Knobs], Answer]


@dataclass(frozen=True, slots=True)
class Request:
    """What came over the wire. The names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What goes over the wire.

    Attributes:
        latency_ms: how long to wait before.
        cut_at: after how many bytes of the body the connection is cut; 0: before the first byte of the answer;
            ``None``: it is not cut.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_ms: float = 0.0
    cut_at: int | None = None


class Service:
    """The emulated service.

    Args:
        address: where it is reached, ``http://host:port``.
        key: that each request has to carry.
        knobs: how it behaves; ``reset`` comes back to them.
    """

    def __init__(self, address: str, key: str, knobs: Knobs) -> None:
        self._key, self._first, self._knobs = key, knobs, knobs
        self._catalog = Catalog(address)
        self._notes: deque[dict[str, object]] = deque(maxlen=_NOTES)
        self._recent: dict[tuple[str, str, str], deque[float]] = {}
        self._number = 0
        self._operations = _operations()
        self._faults = Faults({*self._operations, *_INDEXES.values(), *_ONE_INDEX.values()})

    def answer(self, request: Request) -> Response:
        """Serve one request."""
        self._number += 1
        parts = urlsplit(request.target)
        path = [unquote(part) for part in parts.path.split("/")[1:]]
        is_data = path[0] == "i"
        try:
            self._admit(request, is_admin=path[0] == "_admin")
            if path[0] == "_admin":
                return self._sent(Answer(body=self._admin(request, path[1:])))
            return self._serve(request, path, parse_qs(parts.query, keep_blank_values=True))
        except Refusal as refusal:
            return self._sent(_refused(refusal, is_data=is_data))
        except Unauthorized:
            return Response(401, {"content-type": "text/plain"}, b"Unauthorized", self._knobs.latency_ms)
        except Exception:  # a mistake of the emulator is told, and its traceback is in the log
            traceback.print_exc()
            mistake = Refusal(500, "The emulator made a mistake; its log tells more")
            return self._sent(_refused(mistake, is_data=is_data))

    def _admit(self, request: Request, *, is_admin: bool) -> None:
        if request.headers.get("api-key") != self._key:
            raise Unauthorized
        version = request.headers.get("x-pinecone-api-version")
        if not is_admin and version != API_VERSION:
            raise Refusal(400, f"This emulator speaks API version {API_VERSION}, not {version}")

    def _serve(self, request: Request, path: list[str], query: dict[str, list[str]]) -> Response:
        """Carry a call out, or let it fail as ordered, and note it."""
        index = path[1] if path[0] == "i" and len(path) > 1 else None
        operation, target = _named(request.method, path) if index is None else _named_data(request.method, path[2:])
        call = Call(operation, target, query, _parsed(request.body), len(request.body))
        fault = self._faults.due(call)
        response = self._done(index, call) if fault is None else self._failed(fault, index, call)
        self._notes.append(
            {
                "operation": operation,
                "index": target if index is None else index,
                "namespace": call.namespace(),
                "ids": call.ids(),
                "bytes": call.size,
                "status": 0 if response.cut_at is not None else response.status,
            }
        )
        return response

    def _failed(self, fault: Fault, index: str | None, call: Call) -> Response:
        """The answer of a call that an order is about."""
        done = self._done(index, call) if fault.takes_effect or fault.status == 200 else None
        late = self._knobs.latency_ms + fault.latency_ms
        if fault.status == 0:
            kept = b"" if done is None else done.body
            return Response(200, {}, kept, late, cut_at=len(kept) // 2)
        if done is None or fault.status != 200:
            refusal = Refusal(fault.status, fault.message, fault.headers())
            done = self._sent(_refused(refusal, is_data=index is not None))
        return Response(done.status, done.headers, done.body, late)

    def _done(self, index: str | None, call: Call) -> Response:
        try:
            return self._sent(self._control(call) if index is None else self._data(index, call))
        except Refusal as refusal:
            return self._sent(_refused(refusal, is_data=index is not None))

    def _data(self, name: str, call: Call) -> Answer:
        index = self._catalog.serving(name)
        self._throttle(name, call)
        answer = self._operations[call.operation](index, call, self._knobs)
        if call.operation not in self._knobs.lsn_reads:
            return answer
        space = index.spaces.get(namespace_of(call.namespace()))
        position = lsn_header("read", 0 if space is None else space.indexed_lsn, self._knobs)
        return Answer(answer.status, answer.body, {**answer.headers, **position})

    def _control(self, call: Call) -> Answer:
        body = dict(call.body)
        match call.operation:
            case "create_index":
                return Answer(201, self._catalog.create(body, self._knobs))
            case "list_indexes":
                return Answer(200, self._catalog.list())
            case "describe_index":
                return Answer(200, self._catalog.describe(call.target))
            case "configure_index":
                return Answer(200, self._catalog.configure(call.target, body))
        self._catalog.delete(call.target, self._knobs)
        return Answer(202)

    def _throttle(self, name: str, call: Call) -> None:
        """Count a call against the limit of its namespace ("Data plane operations: request-per-second limits")."""
        most = self._knobs.requests_per_second
        if not most or call.operation not in _THROTTLED:
            return
        space, now = namespace_of(call.namespace()), time.monotonic()
        recent = self._recent.setdefault((name, space, call.operation), deque())
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= most:
            wait = max(0.001, recent[0] + 1 - now)
            message = f"Request rate of {call.operation} in namespace {space} exceeds the limit of {most} per second"
            raise Refusal(429, message, {"retry-after": f"{wait:.3f}"})
        recent.append(now)

    def _admin(self, request: Request, path: list[str]) -> object:
        """The calls of tests."""
        match request.method, path:
            case "GET", ["knobs"]:
                pass
            case "POST", ["knobs"]:
                self._knobs = self._knobs.turned(_parsed(request.body))
            case "POST", ["faults"]:
                self._faults.order(_parsed(request.body))
            case "DELETE", ["faults"]:
                self._faults.clear()
            case "GET", ["calls"]:
                return {"calls": list(self._notes)}
            case "DELETE", ["calls"]:
                self._notes.clear()
            case "POST", ["settle"]:
                self._catalog.settle()
            case "POST", ["reset"]:
                self._reset()
            case _:
                raise Refusal(404, "There is no such call of the emulator")
        return asdict(self._knobs)

    def _reset(self) -> None:
        self._knobs = self._first
        self._catalog.reset()
        self._faults.clear()
        self._notes.clear()
        self._recent.clear()

    def _sent(self, answer: Answer) -> Response:
        body = b"" if answer.body is None else orjson.dumps(answer.body)
        headers = {"content-type": "application/json", "x-pinecone-request-id": str(self._number), **answer.headers}
        return Response(answer.status, headers, body, self._knobs.latency_ms)


_DATA: Final = {
    ("POST", "vectors/upsert"): "upsert",
    ("POST", "vectors/update"): "update",
    ("POST", "vectors/delete"): "delete",
    ("POST", "query"): "query",
    ("GET", "vectors/fetch"): "fetch",
    ("POST", "vectors/fetch_by_metadata"): "fetch_by_metadata",
    ("GET", "vectors/list"): "list",
    ("POST", "describe_index_stats"): "stats",
    ("POST", "namespaces"): "create_namespace",
    ("GET", "namespaces"): "list_namespaces",
}
_ONE_NAMESPACE: Final = {"GET": "describe_namespace", "DELETE": "delete_namespace"}
_INDEXES: Final = {"POST": "create_index", "GET": "list_indexes"}
_ONE_INDEX: Final = {"GET": "describe_index", "PATCH": "configure_index", "DELETE": "delete_index"}


def _operations() -> dict[str, _Operation]:
    reads, writes, spaces = Reads(Ranking(_SEED)), Writes(), Spaces()
    return {
        "upsert": writes.upsert,
        "update": writes.update,
        "delete": writes.delete,
        "query": reads.query,
        "fetch": reads.fetch,
        "fetch_by_metadata": reads.fetch_by_metadata,
        "list": reads.list,
        "stats": reads.stats,
        "create_namespace": spaces.create,
        "describe_namespace": spaces.describe,
        "list_namespaces": spaces.list,
        "delete_namespace": spaces.delete,
    }


def _refused(refusal: Refusal, *, is_data: bool) -> Answer:
    """What is answered to a call that is not served, in the words of either plane."""
    body = (data_body if is_data else control_body)(refusal.status, refusal.message)
    return Answer(refusal.status, body, refusal.headers)


def _named_data(method: str, path: list[str]) -> tuple[str, str]:
    """The operation of an index and the namespace in its path."""
    if path[:1] == ["namespaces"] and len(path) == 2 and method in _ONE_NAMESPACE:
        return _ONE_NAMESPACE[method], path[1]
    if (name := _DATA.get((method, "/".join(path)))) is not None:
        return name, ""
    raise Refusal(501, f"The emulator has no {method} {'/'.join(path)}")


def _named(method: str, path: list[str]) -> tuple[str, str]:
    """The operation of the control plane and the index in its path."""
    if path == ["indexes"] and method in _INDEXES:
        return _INDEXES[method], ""
    if path[0] == "indexes" and len(path) == 2 and method in _ONE_INDEX:
        return _ONE_INDEX[method], path[1]
    raise Refusal(501, f"The emulator has no {method} {'/'.join(path)}")


def _parsed(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refusal(400, f"Invalid JSON: {re.sub(r'[^ -~]', '?', str(exc))[:200]}") from exc
    if not isinstance(found, dict):
        raise Refusal(400, "The body must be a JSON object")
    return found
