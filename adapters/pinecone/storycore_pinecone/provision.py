"""Provisioning: make the index, wait until it is ready, and tell whether one that is there fits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from pinecone import AsyncPinecone, ConflictError, NotFoundError
from pinecone.models.indexes.index import IndexModel
from pinecone.models.indexes.schema import DenseVectorField, LegacyMetadataField, SparseVectorField

from storycore.errors import ConfigError, Effect, NotProvisioned, SchemaMismatch, Unavailable
from storycore.ports.lifecycle import Provision
from storycore.ports.vectors import IndexSpec, Metric
from storycore_pinecone._calls import Calls
from storycore_pinecone.config import PineconeConfig

__all__ = ["METRICS", "described", "missing", "model_of", "provision", "verified"]

METRICS: Final[Mapping[Metric, str]] = {"cosine": "cosine", "dot": "dotproduct", "euclidean": "euclidean"}
_MODEL: Final = "storycore-embedding"
_DENSE: Final = "_values"
_TAG_CHARS: Final = 120
_PLAIN: Final = " ;@"
"""What the value of a tag may hold besides letters, digits, ``_``, ``.``, ``-`` and ``+``."""
_LONGEST_LOOK_SECONDS: Final = 2.0


async def described(client: AsyncPinecone, calls: Calls, name: str) -> IndexModel | None:
    """The index as the control plane tells it; ``None``: there is none."""

    async def once() -> IndexModel | None:
        try:
            return await client.indexes.describe(name)
        except NotFoundError:
            return None

    return await calls.send(once)


async def provision(client: AsyncPinecone, calls: Calls, config: PineconeConfig, *, dry_run: bool) -> Provision:
    """Make the index where there is none, remember the model in its tags, and wait until it is ready.

    An index that was made for other vectors is left as it is, and told.

    Raises:
        SchemaMismatch: another process has made it for other vectors meanwhile.
        Unavailable: it is not ready in time.
    """
    found = await described(client, calls, config.index)
    if found is None:
        if not dry_run:
            await _create(client, calls, config)
            await _ready(client, calls, config)
        dimension, place = config.dimension, f"{config.cloud} {config.region}"
        return Provision([f"create the index {config.index} ({dimension} dimensions, {config.metric}) in {place}"])
    try:
        verified(found, _asked(config))
    except SchemaMismatch as refused:
        return Provision((), [refused.message])
    missing = {key: value for key, value in _tags(config).items() if key not in (found.tags or {})}
    if missing and not dry_run:
        await calls.send(lambda: client.indexes.configure(config.index, tags=missing), writes=True)
    if not dry_run:
        await _ready(client, calls, config)
    actions = [f"tag the index {config.index} with {', '.join(sorted(missing))}"] if missing else []
    return Provision(actions, _differences(found, config))


def verified(found: IndexModel, asked: IndexSpec) -> None:
    """Raise ``SchemaMismatch`` unless the index was made for vectors like these."""
    name, fields = found.name, found.schema.fields
    dense = fields.get(_DENSE)
    others = {
        field for field, kind in fields.items() if not isinstance(kind, (LegacyMetadataField, SparseVectorField))
    } - {_DENSE}
    if not isinstance(dense, DenseVectorField) or others:
        raise SchemaMismatch(
            f"The index {name!r} has documents with the fields {', '.join(sorted(fields)) or 'none'}; storycore keeps "
            "vectors in an index that is made with dimension and metric. Let `storycore init` make one of another name."
        )
    if (dense.dimension, dense.metric) != (asked.dimension, METRICS[asked.metric]):
        raise _mismatch(found, dense, asked)
    model = model_of(found)
    if model is not None and asked.embedding is not None and model != asked.embedding:
        raise _mismatch(found, dense, asked)


def model_of(found: IndexModel) -> str | None:
    """The embedding model that the index remembers."""
    held = (found.tags or {}).get(_MODEL)
    return None if held is None else unquote(held.replace("+", "%"))


async def _create(client: AsyncPinecone, calls: Calls, config: PineconeConfig) -> None:
    async def once() -> None:
        try:
            await client.indexes.create(
                name=config.index,
                schema={
                    "fields": {
                        _DENSE: {
                            "type": "dense_vector",
                            "dimension": config.dimension,
                            "metric": METRICS[config.metric],
                        }
                    }
                },
                deployment={"deployment_type": "managed", "cloud": config.cloud, "region": config.region},
                deletion_protection="enabled" if config.deletion_protection else "disabled",
                tags=_tags(config) or None,
                timeout=-1,
            )
        except ConflictError:
            return  # another process, or an earlier attempt, was faster

    await calls.send(once, writes=True)


async def _ready(client: AsyncPinecone, calls: Calls, config: PineconeConfig) -> None:
    """Wait until the index serves.

    Raises:
        SchemaMismatch: another process has made it for other vectors.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + config.provision_timeout_seconds
    pause = 0.02
    while True:
        found = await described(client, calls, config.index)
        if found is not None and found.status.ready and found.host:
            return verified(found, _asked(config))
        if loop.time() + pause > end:
            state = found.status.state if found is not None else "not there"
            raise Unavailable(
                f"{calls.place} is not ready after {config.provision_timeout_seconds:g} s (it is {state}); "
                "try again later, or raise provision_timeout_seconds.",
                effect=Effect.APPLIED,
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_LOOK_SECONDS)


def missing(config: PineconeConfig) -> NotProvisioned:
    """The error for an index that is not there."""
    return NotProvisioned(f"The index {config.index!r} does not exist yet; make it with `storycore init` or ensure().")


def _asked(config: PineconeConfig) -> IndexSpec:
    assert config.dimension is not None, "an index without a dimension is not made"
    return IndexSpec(config.dimension, config.metric, config.embedding)


def _mismatch(found: IndexModel, dense: DenseVectorField, asked: IndexSpec) -> SchemaMismatch:
    return SchemaMismatch(
        f"The index {found.name!r} was made for {dense.dimension} dimensions, metric {dense.metric}, model "
        f"{model_of(found) or 'unnamed'}; asked for are {asked.dimension} dimensions, metric {METRICS[asked.metric]}, "
        f"model {asked.embedding or 'unnamed'}. Open it as it was made, or ingest again into a new index."
    )


def _tags(config: PineconeConfig) -> dict[str, str]:
    """What the index remembers: the user's tags, and the model.

    Raises:
        ConfigError: the model's identity is longer than a tag.
    """
    if config.embedding is None:
        return dict(config.tags)
    model = quote(config.embedding, safe=_PLAIN).replace("~", "%7E").replace("%", "+")
    if len(model) > _TAG_CHARS:
        raise ConfigError(
            f"The index {config.index!r} remembers its embedding model in a tag, which has at most {_TAG_CHARS} "
            f"characters; {config.embedding[:40]!r}... has {len(model)}. Give the model a shorter identity.",
            path="embedding",
        )
    return {**config.tags, _MODEL: model}


def _differences(found: IndexModel, config: PineconeConfig) -> list[str]:
    """What is there but not as configured, and is left so."""
    deployment, wanted = found.deployment, "enabled" if config.deletion_protection else "disabled"
    told = []
    place = (getattr(deployment, "cloud", config.cloud), getattr(deployment, "region", config.region))
    if place != (config.cloud, config.region):
        told.append(
            f"the index {config.index} is in {' '.join(place)}, not in {config.cloud} {config.region}; "
            "change the configuration, or ingest again into a new index"
        )
    if found.deletion_protection != wanted:
        told.append(
            f"deletion protection of the index {config.index} is {found.deletion_protection}, configured is {wanted}; "
            "change one of the two"
        )
    return told + [
        f"the tag {key} of the index {config.index} is {found.tags[key]!r}, configured is {value!r}; change one"
        for key, value in sorted(config.tags.items())
        if found.tags is not None and found.tags.get(key, value) != value
    ]
