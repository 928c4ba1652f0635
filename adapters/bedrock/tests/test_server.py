"""The emulator refuses what the service refuses: an unmodified client of boto3 against it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from functools import cache
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from storycore_bedrock.testing import server as start

from storycore.errors import Unavailable

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"
DOCUMENTS = {"input_type": "search_document"}


@cache
def session() -> boto3.Session:
    """One session, which reads the descriptions of the services once."""
    return boto3.Session()


def client(server: Mapping[str, object], service: str) -> Any:
    """A client of boto3 that sends everything once, and checks nothing by itself."""
    return session().client(
        service,
        endpoint_url=server["endpoint_url"],
        region_name=server["region"],
        aws_access_key_id=server["access_key_id"],
        aws_secret_access_key=server["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


def invoke(server: Mapping[str, object], model: str, body: Mapping[str, object]) -> dict[str, Any]:
    """The body of the answer."""
    with_body = client(server, "bedrock-runtime").invoke_model(modelId=model, body=json.dumps(body))
    found: dict[str, Any] = json.loads(with_body["body"].read())
    return found


@pytest.mark.parametrize(
    ("model", "body", "told"),
    [
        (TITAN, {"inputText": ""}, "minLength"),
        (TITAN, {"inputText": "x" * 50_001}, "maxLength: 50000, actual: 50001"),
        (TITAN, {"inputText": "a " * 8193}, "Max input tokens: 8192, request input token count: 8193"),
        (TITAN, {"inputText": "a", "dimensions": 384}, "Malformed"),
        (TITAN, {"inputText": "a", "maxTokenCount": 5}, "Malformed"),
        (COHERE, {**DOCUMENTS, "texts": ["a"] * 97}, "maxItems: 96"),
        (COHERE, {**DOCUMENTS, "texts": ["a" * 2049]}, "maxLength: 2048"),
        (COHERE, {**DOCUMENTS, "texts": ["🎻" * 1025]}, "maxLength: 2048"),
        (COHERE, {**DOCUMENTS, "texts": ["a " * 513]}, "too many tokens"),
        (COHERE, {"texts": ["a"], "input_type": "passage"}, "input_type"),
        ("amazon.titan-embed-text-v9:0", {"inputText": "a"}, "model identifier is invalid"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(
    server: Mapping[str, object], model: str, body: Mapping[str, object], told: str
) -> None:
    """The limits are those of the models' pages in the Amazon Bedrock User Guide."""
    with pytest.raises(ClientError) as caught:
        invoke(server, model, body)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert told in caught.value.response["Error"]["Message"]


def test_what_is_at_a_limit_is_taken(server: Mapping[str, object]) -> None:
    """The largest text, and the most texts."""
    assert invoke(server, TITAN, {"inputText": "a " * 8192})["inputTextTokenCount"] == 8192
    assert len(invoke(server, TITAN, {"inputText": "x" * 50_000})["embedding"]) == 1024
    body = {**DOCUMENTS, "texts": ["a" * 2048] * 96}
    assert len(invoke(server, COHERE, body)["embeddings"]) == 96


def test_reranking_has_its_limits(server: Mapping[str, object]) -> None:
    """A thousand sources of 32,000 characters, and a model that is one."""
    agent = client(server, "bedrock-agent-runtime")

    def rerank(texts: list[str], model: str = "amazon.rerank-v1:0") -> list[Any]:
        sources = [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
            for text in texts
        ]
        arn = f"arn:aws:bedrock:us-east-1::foundation-model/{model}"
        configuration = {"modelConfiguration": {"modelArn": arn}, "numberOfResults": 1}
        answer = agent.rerank(
            queries=[{"type": "TEXT", "textQuery": {"text": "river"}}],
            sources=sources,
            rerankingConfiguration={
                "type": "BEDROCK_RERANKING_MODEL",
                "bedrockRerankingConfiguration": configuration,
            },
        )
        found: list[Any] = answer["results"]
        return found

    assert rerank(["a lake", "a river"]) == [{"index": 1, "relevanceScore": 1.0}]
    for texts in (["a"] * 1001, ["a" * 32_001], [""]):
        with pytest.raises(ClientError, match="ValidationException"):
            rerank(texts)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        rerank(["a"], "acme.rerank-v1:0")


def test_a_request_has_to_be_signed(server: Mapping[str, object]) -> None:
    """Whoever sends no signature is told so."""
    connection = HTTPConnection(str(urlsplit(str(server["endpoint_url"])).netloc), timeout=5)
    connection.request("POST", f"/model/{TITAN}/invoke", b'{"inputText": "a"}')
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")
    connection.close()


def test_a_port_that_is_taken_is_told() -> None:
    """``Unavailable`` names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=str(port)), start(port=port):
            pass
