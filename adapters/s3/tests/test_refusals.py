"""What AWS refuses, and SeaweedFS never does: a server that gives AWS's answers, and what the adapter makes of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storycore.errors import AccessDenied, ConfigError, NotProvisioned, StorycoreError, Unavailable
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

ATTEMPTS = 3


@dataclass
class Answering:
    """Says the same to each request, and counts them."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def aws() -> Iterator[Answering]:
    """A server on this machine that refuses everything with one answer."""
    answer = Answering()
    service = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer))
    service.daemon_threads = True
    answer.url = f"http://127.0.0.1:{service.server_port}"
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answer
    service.shutdown()
    thread.join()
    service.server_close()


def _handler(answer: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            answer.asked.append(self.command)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse  # noqa: N815 - http.server asks for these names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def store_at(aws: Answering, tmp_path: Path) -> Any:  # the harness' adapter behind its checks
    """The adapter before that server, which repeats twice and hardly waits."""
    options = {"keys": "portable", "retry_base_ms": 1, "max_attempts": ATTEMPTS}
    keys = {"access_key_id": "somebody", "secret_access_key": "very-secret"}
    place = {"bucket": "letters", "region": "us-east-1", "endpoint_url": aws.url}
    return Harness(PortName.BLOBS, "s3", {**options, **keys, **place}, tmp_path).make()


REFUSALS: dict[str, tuple[int, dict[str, str], type[StorycoreError], str, int]] = {
    "forbidden, or a wrong clock": (403, {}, AccessDenied, "credentials.*clock", 1),
    "a token that has expired": (400, {}, AccessDenied, "credentials.*clock.*region", 1),
    "another region": (301, {"x-amz-bucket-region": "eu-west-1"}, ConfigError, "region.*'eu-west-1'", 2),
    "a signature for another region": (400, {"x-amz-bucket-region": "eu-west-1"}, AccessDenied, "region", 2),
    "a region that nobody tells": (301, {}, ConfigError, "region", 2),
    "a bucket that moves": (307, {"x-amz-bucket-region": "eu-west-1"}, Unavailable, "later.*'eu-west-1'", 2 * ATTEMPTS),
    "a bucket that is missing": (404, {}, NotProvisioned, "storycore init", 1),
    "too many requests": (503, {}, Unavailable, "try again", ATTEMPTS),
    "a fault within": (500, {}, Unavailable, "try again", ATTEMPTS),
}


@pytest.mark.parametrize(("status", "headers", "error", "cure", "requests"), REFUSALS.values(), ids=REFUSALS)
async def test_each_refusal_of_aws_has_its_error_and_cure(
    aws: Answering,
    tmp_path: Path,
    status: int,
    headers: dict[str, str],
    error: type[StorycoreError],
    cure: str,
    requests: int,
) -> None:
    """Opening names the bucket and what helps, holds no secret, and is repeated only where that can help."""
    aws.status, aws.headers = status, headers
    with pytest.raises(error, match=f"'letters'.*{cure}") as caught:
        await store_at(aws, tmp_path).open()
    assert "very-secret" not in str(caught.value)
    assert len(aws.asked) == requests
