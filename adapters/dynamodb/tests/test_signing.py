"""The signatures are those of botocore's own signer, which is the oracle."""

from __future__ import annotations

from calendar import timegm
from time import strptime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb._origin import host_header
from storycore_dynamodb._signing import Keys, Signer
from storycore_dynamodb._transport import Refused

KEEN = settings(max_examples=40, deadline=None, derandomize=True)
GIVEN = ("Host", "X-Amz-Target", "Content-Type", "User-Agent")

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
HOSTS = st.builds("{}.{}".format, NAMES, NAMES) | st.builds("127.0.0.1:{}".format, st.integers(1, 65535))
KEYS = st.builds(Keys, WORDS, WORDS, st.none() | WORDS)


def headers_of(head: bytes) -> dict[str, str]:
    """The headers of a request's head, with their names as written."""
    first, *lines, empty, rest = head.decode().split("\r\n")
    assert (first, empty, rest) == ("POST / HTTP/1.1", "", "")
    return dict(line.split(": ", 1) for line in lines)


def by_botocore(headers: dict[str, str], body: bytes, keys: Keys, region: str, service: str) -> dict[str, str]:
    """The same request as botocore signs it now."""
    request = AWSRequest("POST", f"https://{headers['Host']}/", {name: headers[name] for name in GIVEN}, body)
    SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), service, region).add_auth(request)
    return dict(request.headers.items())


def seconds_of(stamp: str) -> int:
    """The time in a header ``X-Amz-Date``."""
    return timegm(strptime(stamp, "%Y%m%dT%H%M%SZ"))


@KEEN
@given(HOSTS, NAMES, NAMES, NAMES, st.binary(max_size=200), KEYS)
def test_a_signature_is_botocores(
    host: str, region: str, service: str, operation: str, body: bytes, keys: Keys
) -> None:
    """The same request at the same time has the same headers, whatever it holds."""
    clock = [0.0]
    signer = Signer(host=host, region=region, service=service, target="T_1", agent="a/1", now=lambda: clock[0])
    theirs = by_botocore(headers_of(signer.head(operation, body, keys)), body, keys, region, service)
    clock[0] = seconds_of(theirs["X-Amz-Date"]) + 0.7
    ours = headers_of(signer.head(operation, body, keys))
    assert (ours.pop("Content-Length"), ours.pop("Accept-Encoding")) == (str(len(body)), "identity")
    assert ours == theirs


def test_what_is_kept_between_requests_follows_the_clock_and_the_credentials() -> None:
    """A new second, a new day and new credentials each make a new signature; the same ones the same."""
    clock = [86_399.0]
    signer = Signer(host="h", region="r", service="s", target="T", agent="a", now=lambda: clock[0])
    one, two = Keys("one", "secret"), Keys("two", "secret", "token")
    first = signer.head("Op", b"{}", one)
    assert signer.head("Op", b"{}", one) == first
    assert signer.head("Op", b"{ }", one) != first
    clock[0] = 86_400.5
    assert headers_of(signer.head("Op", b"{}", one))["X-Amz-Date"] == "19700102T000000Z"
    assert "two/19700102/r/s" in headers_of(signer.head("Op", b"{}", two))["Authorization"]
    clock[0] = 86_399.9
    assert signer.head("Op", b"{}", one) == first


@pytest.mark.parametrize("keys", [Keys("a\r\nX: y", "s"), Keys("a b", "s"), Keys("", "s"), Keys("a", "s", "t\n")])
def test_credentials_cannot_write_headers(keys: Keys) -> None:
    """What would end a header is refused, and not shown."""
    signer = Signer(host="h", region="r", service="s", target="T", agent="a")
    with pytest.raises(Refused, match="NoCredentials") as caught:
        signer.head("Op", b"", keys)
    assert "X: y" not in str(caught.value)


def test_credentials_do_not_show_their_secrets() -> None:
    """Neither the secret nor the token."""
    assert repr(Keys("name", "hidden", "hidden")) == "Keys(access_key='name')"


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://dynamodb.eu-central-1.amazonaws.com", "dynamodb.eu-central-1.amazonaws.com"),
        ("https://Example.org:443/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ],
)
def test_the_host_is_named_without_its_usual_port(url: str, header: str) -> None:
    """As botocore names it in the signature."""
    assert host_header(url) == header
    request = AWSRequest("POST", url)
    assert SigV4Auth(None, "s", "r").headers_to_sign(request)["host"] == header
