"""The Embedder port on the embedding models of Amazon Bedrock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from itertools import chain

import orjson

from storycore.errors import StorycoreError, TooLarge, Unavailable
from storycore.ports.capabilities import Capabilities
from storycore.ports.embeddings import EmbeddingSpec, Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore.ports.vectors import Vector
from storycore_bedrock._calls import Calls, Client, Clients, gathered, new_client
from storycore_bedrock.config import BedrockEmbedderConfig
from storycore_bedrock.models import named_model, shorter_lengths

__all__ = ["BedrockEmbedder", "open_embedder"]

_SLICE = 512
"""Requests that are prepared together."""


class BedrockEmbedder(Lifecycle):
    """One request for as many texts as the model takes at once, ``connections`` of them at the same time.

    A text of more tokens than the model sees is refused by the service; it is cut, at lengths that are the same for
    all texts, until it is taken.

    Args:
        config: model, dimension, place and limits.
        env: randomness for the pauses.
        clients: makes the client of boto3.
    """

    def __init__(self, config: BedrockEmbedderConfig, env: Environment, *, clients: Clients = new_client) -> None:
        self._model = named_model(config.model)
        self._model_id = config.model
        self._connections = config.connections
        dimension = config.dimension or self._model.dimensions[0]
        self._spec = EmbeddingSpec(f"bedrock/{self._model.name}:{dimension}", dimension, self._model.max_tokens)
        self._place = self._model.name + (f" in {config.region}" if config.region else "")
        self._calls = Calls(
            "bedrock-runtime", config, env, place=self._place, limit=self._model.max_tokens, clients=clients
        )

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("bedrock", version("storycore-bedrock"), self._place)

    @property
    def capabilities(self) -> Capabilities:
        """How many texts a request takes, and how many requests go at once."""
        return Capabilities(limits={"embedder.batch": self._model.batch, "embedder.calls": self._connections})

    @property
    def spec(self) -> EmbeddingSpec:
        """The model; its identity holds the dimension."""
        return self._spec

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
        """Embed a word."""
        started = time.perf_counter()
        try:
            await self.embed(["river"], purpose="query")
        except StorycoreError as exc:
            return Health(False, exc.message)
        return Health(True, latency_ms=(time.perf_counter() - started) * 1000, facts={"model": self._model.name})

    async def close(self) -> None:
        """Let the client go; requests that have not begun fail with ``Unavailable``."""
        self._opened, self._natives = False, ()
        await self._calls.close()

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order."""
        self._require_open()
        size = self._model.batch
        vectors: list[Vector] = []
        for start in range(0, len(texts), size * _SLICE):
            part = texts[start : start + size * _SLICE]
            batches = [part[first : first + size] for first in range(0, len(part), size)]
            vectors += chain(*await gathered([self._embedded(batch, purpose) for batch in batches]))
        return vectors

    async def _embedded(self, batch: Sequence[str], purpose: Purpose) -> list[Vector]:
        """The vectors of a batch; where the service finds a text too long, each is sent alone."""
        try:
            return await self._calls.send(lambda client: self._invoke(client, batch, purpose))
        except TooLarge as exc:
            if len(batch) == 1:
                return await self._cut(batch[0], purpose, exc)
        return list(chain(*await gathered([self._embedded([text], purpose) for text in batch])))

    async def _cut(self, text: str, purpose: Purpose, refusal: TooLarge) -> list[Vector]:
        """The vector of as much of a text as the service takes."""
        for length in shorter_lengths(min(len(text), self._model.max_characters)):
            beginning = text[:length]
            try:
                return await self._calls.send(partial(self._invoke, batch=[beginning], purpose=purpose))
            except TooLarge as exc:
                refusal = exc
        raise refusal

    def _invoke(self, client: Client, batch: Sequence[str], purpose: Purpose) -> list[Vector]:
        body = self._model.request(batch, purpose, self._spec.dimension)
        answer = client.invoke_model(
            modelId=self._model_id, body=orjson.dumps(body), contentType="application/json", accept="application/json"
        )
        told = answer["body"].read()
        self._calls.usage.count("InvokeModel", answer)
        try:
            found = orjson.loads(told)
        except ValueError as exc:
            raise Unavailable(f"{self._model.name} answered with something else than JSON; try again.") from exc
        return self._model.vectors(found, count=len(batch), dimension=self._spec.dimension)


def open_embedder(config: BedrockEmbedderConfig, env: Environment) -> BedrockEmbedder:
    """Make the embedder, not yet open."""
    return BedrockEmbedder(config, env)
