"""The Reranker port on the reranking models of Amazon Bedrock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from typing import Any

from storycore.errors import StorycoreError, Unavailable
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore_bedrock._calls import Calls, Client, Clients, gathered, new_client
from storycore_bedrock.config import BedrockRerankerConfig
from storycore_bedrock.models import beginning

__all__ = ["BedrockReranker", "open_reranker"]

_BATCH = 1000
"""Amazon Bedrock API Reference, Rerank: at most 1,000 sources."""
_MAX_CHARACTERS = 32_000
"""Amazon Bedrock API Reference, RerankTextDocument: at most 32,000 characters."""


class BedrockReranker(Lifecycle):
    """One request for up to 1,000 texts; of a query or text, 32,000 characters are sent.

    Args:
        config: model, place and limits.
        env: randomness for the pauses.
        clients: makes the client of boto3.
    """

    def __init__(self, config: BedrockRerankerConfig, env: Environment, *, clients: Clients = new_client) -> None:
        self._model = config.model
        self._place = config.model + (f" in {config.region}" if config.region else "")
        self._calls = Calls(
            "bedrock-agent-runtime", config, env, place=self._place, limit=_MAX_CHARACTERS, clients=clients
        )

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("bedrock", version("storycore-bedrock"), self._place)

    @property
    def capabilities(self) -> Capabilities:
        """How many texts a request takes."""
        return Capabilities(limits={"reranker.batch": _BATCH})

    @property
    def model(self) -> str:
        """Identity of the model."""
        return f"bedrock/{self._model}"

    async def open(self) -> None:
        """Make the client; nothing is sent yet.

        Raises:
            ConfigError: there is no region, or there can be no such region or endpoint.
            AccessDenied: there is no such profile of the AWS configuration.
        """
        client = await self._calls.open()
        self._opened = True
        self._natives = (client, self._calls.usage)

    async def health(self, *, deep: bool = False) -> Health:
        """Score a word."""
        started = time.perf_counter()
        try:
            await self.rerank("river", ["The river."])
        except StorycoreError as exc:
            return Health(False, exc.message)
        return Health(True, latency_ms=(time.perf_counter() - started) * 1000, facts={"model": self._model})

    async def close(self) -> None:
        """Let the client go; requests that have not begun fail with ``Unavailable``."""
        self._opened, self._natives = False, ()
        await self._calls.close()

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in order; from 0 to 1."""
        self._require_open()
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        return list(chain(*await gathered([self._scored(query, batch) for batch in batches])))

    async def _scored(self, query: str, batch: Sequence[str]) -> list[float]:
        return await self._calls.send(lambda client: self._scores(client, query, batch))

    def _scores(self, client: Client, query: str, batch: Sequence[str]) -> list[float]:
        request = _request(_arn(self._model, client), query, batch)
        found: dict[int, float] = {}
        for _ in batch:  # a page has one result at least, so there are no more pages than texts
            answer = client.rerank(**request)
            self._calls.usage.count("Rerank", answer)
            found.update(self._told(answer))
            if not answer.get("nextToken"):
                break
            request["nextToken"] = answer["nextToken"]
        if set(found) != set(range(len(batch))) or not all(map(math.isfinite, found.values())):
            raise Unavailable(f"{self._model} did not score each of {len(batch)} texts; try again.")
        return [found[position] for position in range(len(batch))]

    def _told(self, answer: Mapping[str, Any]) -> dict[int, float]:
        try:
            return {int(result["index"]): float(result["relevanceScore"]) for result in answer["results"]}
        except (KeyError, TypeError, ValueError) as exc:
            raise Unavailable(
                f"{self._model} answered with something else than scores; try again, and look at endpoint_url."
            ) from exc


def open_reranker(config: BedrockRerankerConfig, env: Environment) -> BedrockReranker:
    """Make the reranker, not yet open."""
    return BedrockReranker(config, env)


def _arn(model: str, client: Client) -> str:
    if model.startswith("arn:"):
        return model
    return f"arn:{client.meta.partition}:bedrock:{client.meta.region_name}::foundation-model/{model}"


def _request(arn: str, query: str, batch: Sequence[str]) -> dict[str, Any]:
    return {
        "queries": [{"type": "TEXT", "textQuery": {"text": beginning(query, _MAX_CHARACTERS)}}],
        "sources": [
            {
                "type": "INLINE",
                "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": beginning(text, _MAX_CHARACTERS)}},
            }
            for text in batch
        ],
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {
                "numberOfResults": len(batch),
                "modelConfiguration": {"modelArn": arn},
            },
        },
    }
