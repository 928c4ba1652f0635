"""Keys of backups that AWS KMS seals, on a second server that has one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
import storycore_s3
from storycore_s3.kms import kms_key

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.errors import AccessDenied, ConfigError, NotProvisioned, Unavailable
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

KEY = bytes(range(32))
WHERE = {"backup": "daily_20261122_020000_abcdef", "provider": "KMS"}


@pytest.fixture(scope="module")
def options(ministack: Mapping[str, Any]) -> dict[str, object]:
    """The options that lead to a key."""
    way = {name: ministack[name] for name in ("endpoint_url", "region", "access_key_id", "secret_access_key")}
    client = boto3.Session().client(
        "kms",
        endpoint_url=way["endpoint_url"],
        region_name=way["region"],
        aws_access_key_id=way["access_key_id"],
        aws_secret_access_key=way["secret_access_key"],
    )
    key = client.create_key()["KeyMetadata"]["KeyId"]
    client.close()
    return {"key_id": key, **way}


async def test_a_key_is_sealed_and_opened(options: dict[str, object]) -> None:
    """With the same context and no other; what is sealed is not the key.

    Refusals of another key and of a changed byte are shown below: ministack looks at neither.
    """
    one = kms_key(options)
    wrapped = await one.wrap(KEY, context=WHERE)
    assert (await one.unwrap(wrapped, context=WHERE), KEY in wrapped) == (KEY, False)
    for sealed, context in ((wrapped, {**WHERE, "backup": "another"}), (b"no sealed key", WHERE)):
        with pytest.raises(AccessDenied, match="KMS key"):
            await one.unwrap(sealed, context=context)


async def test_backups_open_with_the_service_alone(options: dict[str, object]) -> None:
    """Found by its name among the plugins' providers; and a rotation leads from a passphrase to it."""
    [make] = [found["kms"] for found in Plugins([storycore_s3]).hook.storycore_key_providers() if "kms" in found]
    kms, old, env = make(options), Passphrase("correct horse", 10), Environment()
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with blobs:
        draft = await Archive(blobs, old, env).begin("manual", store="s")
        made = await draft.commit({}, as_of=env.clock.now())
        await Archive(blobs, old, env).sealed_keys.rotate(made.id, kms)
        assert await Archive(blobs, kms, env).manifest(made.id) == made
        with pytest.raises(AccessDenied, match=made.id):
            await Archive(blobs, old, env).manifest(made.id)


async def test_a_key_that_is_not_there_is_named(options: dict[str, object]) -> None:
    """And so is a service that does not answer; nothing of the credentials is told."""
    with pytest.raises(NotProvisioned, match="does not exist"):
        await kms_key({**options, "key_id": "00000000-0000-0000-0000-000000000000"}).wrap(KEY, context=WHERE)
    silent = {**options, "endpoint_url": "http://127.0.0.1:9", "max_attempts": 1, "secret_access_key": "hush"}
    with pytest.raises(Unavailable, match="does not answer") as caught:
        await kms_key(silent).wrap(KEY, context=WHERE)
    assert "hush" not in str(caught.value)


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str]]]:
    """A server that answers as AWS KMS does (Decrypt: Errors) with the codes it is given, one by one; and the codes."""
    codes: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"__type": codes.pop(0), "message": "no"}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base calls it
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", codes
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("IncorrectKeyException", AccessDenied, "another key"),
        ("InvalidCiphertextException", AccessDenied, "was changed"),
        ("AccessDeniedException", AccessDenied, "kms:Decrypt"),
        ("DisabledException", AccessDenied, "enable it"),
        ("KMSInvalidStateException", AccessDenied, "enable it"),
        ("NotFoundException", NotProvisioned, "does not exist"),
        ("InvalidKeyUsageException", NotProvisioned, "symmetric"),
        ("KMSInternalException", Unavailable, "KMSInternalException"),
    ],
)
async def test_what_aws_refuses_is_told(
    refusing: tuple[str, list[str]], code: str, error: type[Exception], says: str
) -> None:
    """Each refusal that AWS documents has its error and its cure, and names the key."""
    url, codes = refusing
    codes += [code] * 2
    given = {"key_id": "alias/mine", "endpoint_url": url, "region": "us-east-1", "max_attempts": 1}
    key = kms_key({**given, "access_key_id": "test", "secret_access_key": "test"})
    with pytest.raises(error, match=says) as caught:
        await key.unwrap(b"sealed", context=WHERE)
    assert "alias/mine" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"), [({}, "key_id"), ({"key_id": "k", "regoin": "x"}, "regoin"), ({"key_id": ""}, "key_id")]
)
def test_a_wrong_option_is_named(options: dict[str, object], named: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=rf"backup\.key_options\.{named}"):
        kms_key(options)
