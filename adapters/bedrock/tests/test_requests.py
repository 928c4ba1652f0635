"""What goes over the wire, request by request: botocore's Stubber checks each against the model of the service."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from pydantic import ValidationError
from storycore_bedrock.config import BedrockConfig, BedrockEmbedderConfig, BedrockRerankerConfig
from storycore_bedrock.embedder import BedrockEmbedder
from storycore_bedrock.reranker import BedrockReranker

from storycore.errors import Throttled
from storycore.plugins import Plugins
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.profiles import resolve
from storycore.profiles.settings import PortSettings

ONE = {"connections": 1, "retry_base_ms": 0, "max_attempts": 2}


class Stubbed:
    """A client of boto3 that answers from a script instead of a connection."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.client = boto3.client(
            service, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.stubber = Stubber(self.client)
        self.stubber.activate()

    def __call__(self, service: str, config: BedrockConfig) -> Any:
        assert self.service == service
        return self.client

    def expect(self, model: str, body: dict[str, object], answer: dict[str, object]) -> None:
        """The next request invokes the model with the body."""
        told = json.dumps(answer).encode()
        self.stubber.add_response(
            "invoke_model",
            {"body": StreamingBody(io.BytesIO(told), len(told)), "contentType": "application/json"},
            {
                "modelId": model,
                "body": json.dumps(body, separators=(",", ":")).encode(),
                "contentType": "application/json",
                "accept": "application/json",
            },
        )


async def test_titan_is_asked_one_text_at_a_time() -> None:
    """Each text is a request with dimension and normalisation, for either purpose alike; vectors come in order."""
    stubbed = Stubbed("bedrock-runtime")
    model = "amazon.titan-embed-text-v2:0"
    for text, axis in (("a", 0), ("b", 1)):
        vector = [0.0] * 256
        vector[axis] = 1.0
        body = {"inputText": text, "dimensions": 256, "normalize": True}
        stubbed.expect(model, body, {"embedding": vector, "inputTextTokenCount": 1})
    config = BedrockEmbedderConfig(dimension=256, **ONE)
    async with BedrockEmbedder(config, Environment(), clients=stubbed) as embedder:
        found = [*await embedder.embed(["a"], purpose="query"), *await embedder.embed(["b"], purpose="document")]
        assert (f"bedrock/{model}:256", 256, 8192) == (
            embedder.spec.model,
            embedder.spec.dimension,
            embedder.spec.max_tokens,
        )
    assert [vector.index(1.0) for vector in found] == [0, 1]
    stubbed.stubber.assert_no_pending_responses()


@pytest.mark.parametrize(("purpose", "kind"), [("document", "search_document"), ("query", "search_query")])
async def test_cohere_is_told_the_purpose(purpose: Any, kind: str) -> None:
    """Many texts are one request, whose ``input_type`` is the purpose; vectors are scaled to length 1."""
    stubbed = Stubbed("bedrock-runtime")
    model = "cohere.embed-english-v3"
    body = {"texts": ["a", "b"], "input_type": kind, "truncate": "END"}
    stubbed.expect(model, body, {"embeddings": [[3.0] + [0.0] * 1022 + [4.0], [0.5] + [0.0] * 1023]})
    config = BedrockEmbedderConfig(model=model, **ONE)
    async with BedrockEmbedder(config, Environment(), clients=stubbed) as embedder:
        first, second = await embedder.embed(["a", "b"], purpose=purpose)
    assert [pytest.approx(0.6), pytest.approx(0.8), 1.0] == [first[0], first[-1], second[0]]


async def test_the_region_decides_the_arn_of_the_reranker() -> None:
    """A model's identifier becomes the ARN of the client's region; all results are asked for; order is the texts'."""
    stubbed = Stubbed("bedrock-agent-runtime")
    arn = "arn:aws:bedrock:eu-central-1::foundation-model/cohere.rerank-v3-5:0"
    texts = ["one", "two"]
    sources = [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}} for text in texts
    ]
    configuration = {"numberOfResults": 2, "modelConfiguration": {"modelArn": arn}}
    stubbed.stubber.add_response(
        "rerank",
        {"results": [{"index": 1, "relevanceScore": 0.9}, {"index": 0, "relevanceScore": 0.1}]},
        {
            "queries": [{"type": "TEXT", "textQuery": {"text": "which?"}}],
            "sources": sources,
            "rerankingConfiguration": {
                "type": "BEDROCK_RERANKING_MODEL",
                "bedrockRerankingConfiguration": configuration,
            },
        },
    )
    config = BedrockRerankerConfig(model="cohere.rerank-v3-5:0", **ONE)
    async with BedrockReranker(config, Environment(), clients=stubbed) as reranker:
        assert await reranker.rerank("which?", texts) == [0.1, 0.9]


async def test_throttling_tells_what_the_header_says() -> None:
    """``Retry-After`` of the last attempt is in the error; what is no number counts as not said."""
    stubbed = Stubbed("bedrock-runtime")
    for header in ("0", "soon"):
        stubbed.stubber.add_client_error(
            "invoke_model",
            "ThrottlingException",
            "slow down",
            429,
            response_meta={"HTTPHeaders": {"retry-after": header}},
        )
    async with BedrockEmbedder(BedrockEmbedderConfig(**ONE), Environment(), clients=stubbed) as embedder:
        with pytest.raises(Throttled) as caught:
            await embedder.embed(["a"], purpose="query")
    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "amazon.titan-text-express-v1"},
        {"dimension": 384},
        {"model": "cohere.embed-english-v3", "dimension": 256},
        {"access_key_id": "half"},
        {"session_token": "alone"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """A model that is not known, a dimension that it does not have, half of a key."""
    with pytest.raises(ValidationError):
        BedrockEmbedderConfig(**settings)


def test_a_url_names_model_and_settings() -> None:
    """The model's identifier, colon included, is what follows the scheme; nothing there means the default."""
    adapter = Plugins().adapter("bedrock")
    url = "bedrock://amazon.titan-embed-text-v2:0?region=eu-central-1&dimension=512"
    config = resolve(PortSettings(adapter="bedrock", url=url), adapter, PortName.EMBEDDER)
    assert isinstance(config, BedrockEmbedderConfig)
    assert (config.model, config.region, config.dimension) == ("amazon.titan-embed-text-v2:0", "eu-central-1", 512)
    bare = resolve(PortSettings(adapter="bedrock", url="bedrock://"), adapter, PortName.RERANKER)
    assert isinstance(bare, BedrockRerankerConfig)
    assert bare.model == "amazon.rerank-v1:0"


def test_importing_the_plugin_imports_no_vendor() -> None:
    """Discovery costs nothing: the plugin module loads neither boto3 nor botocore."""
    code = (
        "import sys, storycore_bedrock as m; m.storycore_adapters();"
        "print(sorted({'boto3', 'botocore'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
