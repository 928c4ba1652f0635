"""Pages of blobs: names from listings, facts from the objects themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from storycore.ports.blobs import BlobInfo, BlobPage
from storycore_s3._failures import Refused
from storycore_s3._names import LAST
from storycore_s3._objects import Objects

__all__ = ["page_of", "revisions_of"]

_PAGE: Final = 1000


async def page_of(objects: Objects, prefix: str, delimiter: str | None, after: str | None, limit: int) -> BlobPage:
    """A page of a listing; a blob that is deleted while the page is made is left out."""
    found: list[tuple[str, bool]] = []
    async for each in _entries(objects, prefix, delimiter, after, limit):
        found.append(each)
        if len(found) > limit:
            break
    page = found[:limit]
    looked = await asyncio.gather(*(objects.look(key) for key, is_prefix in page if not is_prefix))
    return BlobPage(
        blobs=[seen.info for seen in looked if seen is not None],
        prefixes=[key for key, is_prefix in page if is_prefix],
        next=page[-1][0] if len(found) > limit else None,
    )


async def revisions_of(objects: Objects, key: str, limit: int) -> list[BlobInfo]:
    """What a blob is and was, newest first."""
    name = objects.names.of(key)
    found: list[str] = []
    where: dict[str, Any] = {}
    while len(found) < limit:
        answer = await _listed(objects, "list_object_versions", Prefix=name, MaxKeys=_PAGE, **where)
        found += [each["VersionId"] for each in answer.get("Versions", ()) if each["Key"] == name]
        behind = answer.get("NextKeyMarker")
        if not answer.get("IsTruncated") or behind != name:
            break
        where = {"KeyMarker": behind, "VersionIdMarker": answer.get("NextVersionIdMarker")}
    looked = await asyncio.gather(*(objects.look(key, revision) for revision in found[:limit]))
    return [seen.info for seen in looked if seen is not None]


async def _entries(
    objects: Objects, prefix: str, delimiter: str | None, after: str | None, limit: int
) -> AsyncIterator[tuple[str, bool]]:
    """Keys and common prefixes behind ``after``, ascending, each once."""
    names = objects.names
    folding = names.folds(delimiter) if delimiter else None
    where: dict[str, Any] = {"Prefix": names.beginning(prefix), "MaxKeys": min(_PAGE, limit + 1)}
    if folding is not None:
        where["Delimiter"] = folding
    start = _start(objects, prefix, delimiter, after)
    while True:
        skip = None
        answer = await _listed(objects, "list_objects_v2", **where, **({"StartAfter": start} if start else {}))
        for name in _names(answer):
            start = name
            key = names.key(name)
            if key is None:
                continue
            folded = _folded(key, prefix, delimiter)
            if folded is not None:
                start = skip = names.beginning(folded) + LAST
            if after is None or (folded or key) > after:
                yield folded or key, folded is not None
            if folded is not None and folding is None:
                break
        if not answer.get("IsTruncated") and (skip is None or folding is not None):
            return


def _start(objects: Objects, prefix: str, delimiter: str | None, after: str | None) -> str | None:
    """Behind which name the listing begins; behind all keys of a prefix where ``after`` is one."""
    if not after:
        return None
    if _folded(after, prefix, delimiter) == after:
        return objects.names.beginning(after) + LAST
    return objects.names.of(after)


def _folded(key: str, prefix: str, delimiter: str | None) -> str | None:
    at = key.find(delimiter, len(prefix)) if delimiter and key.startswith(prefix) else -1
    return None if at < 0 or not delimiter else key[: at + len(delimiter)]


def _names(answer: Any) -> list[str]:
    """Of objects and common prefixes, in the order of their bytes."""
    names = [each["Key"] for each in answer.get("Contents", ())]
    names += [each["Prefix"] for each in answer.get("CommonPrefixes", ())]
    return sorted(names)


async def _listed(objects: Objects, operation: str, **where: Any) -> Any:
    try:
        return await objects.calls.send(operation, **where)
    except Refused as refusal:
        raise objects.calls.translated(refusal) from refusal
