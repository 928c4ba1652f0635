"""Manifests of DynamoDB's export to S3: which files an export consists of, and by what each is known to be whole.

``AWSDynamoDB/<id>/manifest-summary.json`` names ``manifest-files.json``, which has a line for each data file; beside
each of the two lies the Base64 of its MD5, in ``….md5`` (the documentation says ``….checksum``). The files of an
incremental export lie in ``AWSDynamoDB/data/``, which all of them share (DynamoDB: table export output format).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from hashlib import md5
from typing import Any, Final

import orjson

from storycore.errors import Corrupt, InvalidArgument, NotFound
from storycore.ports.backup_formats import Export, ExportFacts, ExportPart, ExportPlace

__all__ = ["ROOT", "SUMMARY", "as_text", "checksum", "found", "publish"]

ROOT: Final = "AWSDynamoDB/"
SUMMARY: Final = "manifest-summary"
_FILES: Final = "manifest-files"
_CHECKSUMS: Final = ("md5", "checksum")
_JSON_FORMAT: Final = "DYNAMODB_JSON"
_FULL_VERSION: Final = "2020-06-30"
_MOST_BYTES: Final = 256 * 1024 * 1024
"""Of a manifest: a million files."""


def checksum(data: bytes) -> str:
    """By which the layout knows files; it guards against damage, and not against anybody."""
    return as_text(md5(data, usedforsecurity=False).digest())


def as_text(digest: bytes) -> str:
    """An MD5 as manifests tell it, in Base64."""
    return b64encode(digest).decode()


async def publish(place: ExportPlace, folder: str, facts: ExportFacts, parts: Sequence[ExportPart], size: int) -> None:
    """Write both manifests, the summary last: with it the export is finished.

    Args:
        folder: of the export, with a slash at its end.
        parts: all data files.
        size: of the items, in bytes.
    """
    files = b"".join(orjson.dumps(_entry(part)) + b"\n" for part in parts)
    summary = orjson.dumps(_summary(folder, facts, parts, size), option=orjson.OPT_APPEND_NEWLINE)
    for name, content in ((_FILES, files), (SUMMARY, summary)):
        await place.put(f"{folder}{name}.md5", checksum(content).encode())
        await place.put(f"{folder}{name}.json", content)


async def found(place: ExportPlace, name: str | None) -> Export:
    """The export in a place; see ``BackupFormat.find``."""
    names = set(await place.names(ROOT) or await place.names())  # a bucket may hold much else
    summary_name = _chosen(names, name)
    folder = summary_name.rpartition("/")[0] + "/" if "/" in summary_name else ""
    summary = _object(await _proven(place, names, folder, SUMMARY), summary_name)
    _require_json(summary, summary_name)
    parts = [_part(line, folder, names) for line in (await _proven(place, names, folder, _FILES)).splitlines() if line]
    _require_all(parts, summary, folder, names)
    is_whole = "exportFromTime" not in summary
    return Export(
        name=folder.rstrip("/").rpartition("/")[2] or str(summary.get("exportArn")).rpartition("/")[2],
        as_of=_moment(summary, "exportTime" if is_whole else "exportToTime", summary_name),
        parts=parts,
        is_whole=is_whole,
    )


def _summary(folder: str, facts: ExportFacts, parts: Sequence[ExportPart], size: int) -> Mapping[str, object]:
    table = f"arn:aws:dynamodb:local:000000000000:table/{facts.store}"
    at = facts.as_of.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "version": _FULL_VERSION,
        "exportArn": f"{table}/export/{facts.id}",
        **dict.fromkeys(("startTime", "endTime"), at),
        "tableArn": table,
        "tableId": "",
        "exportTime": at,
        **dict.fromkeys(("s3Bucket", "s3Prefix", "s3SseAlgorithm", "s3SseKmsKeyId")),
        "manifestFilesS3Key": f"{folder}{_FILES}.json",
        "billedSizeBytes": size,
        "itemCount": sum(part.items for part in parts),
        "outputFormat": _JSON_FORMAT,
    }


def _entry(part: ExportPart) -> Mapping[str, object]:
    etag = b64decode(part.proof).hex()  # of an object that was sent in one request
    return {"itemCount": part.items, "md5Checksum": part.proof, "etag": etag, "dataFileS3Key": part.name}


def _chosen(names: set[str], wanted: str | None) -> str:
    """The name of the summary."""
    every = sorted(name for name in names if name.rpartition("/")[2] == f"{SUMMARY}.json")
    if wanted is not None:
        every = [name for name in every if wanted in name.split("/")]
    if not every:
        raise NotFound(
            f"There is no finished export{f' {wanted}' if wanted else ''}: no {SUMMARY}.json. One that was interrupted "
            "is finished by exporting again."
        )
    if len(every) > 1:
        known = ", ".join(name.split("/")[-2] for name in every)
        raise InvalidArgument(f"There are {len(every)} exports: {known}; say which.")
    return every[0]


async def _proven(place: ExportPlace, names: set[str], folder: str, name: str) -> bytes:
    """A manifest that matches its checksum."""
    file = f"{folder}{name}.json"
    proof = next((f"{folder}{name}.{end}" for end in _CHECKSUMS if f"{folder}{name}.{end}" in names), None)
    if file not in names or proof is None:
        lost = f"{file}" if file not in names else f"{folder}{name}.md5"
        raise Corrupt(f"The export's {lost} is missing; bring it back from where it was copied from.")
    content = await _content(place, file)
    said = (await _content(place, proof)).decode(errors="replace").strip()
    if said not in (checksum(content), md5(content, usedforsecurity=False).hexdigest()):
        raise Corrupt(f"The export's {file} or {proof} is damaged: they do not match; copy them anew.")
    return content


async def _content(place: ExportPlace, name: str) -> bytes:
    content = bytearray()
    async with aclosing(place.get(name)) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > _MOST_BYTES:
                raise Corrupt(f"The export's {name} is no manifest: it has more than {_MOST_BYTES} bytes.")
    return bytes(content)


def _object(content: bytes, name: str) -> dict[str, Any]:  # JSON
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise Corrupt(f"The export's {name} is no JSON ({exc}).") from exc
    if not isinstance(value, dict):
        raise Corrupt(f"The export's {name} holds no JSON object.")
    return value


def _part(line: bytes, folder: str, names: set[str]) -> ExportPart:
    entry = _object(line, f"{folder}{_FILES}.json")
    key, items, proof = entry.get("dataFileS3Key"), entry.get("itemCount"), entry.get("md5Checksum")
    if not (isinstance(key, str) and isinstance(items, int) and isinstance(proof, str)):
        raise Corrupt(f"A line of the export's {folder}{_FILES}.json does not describe a data file.")
    return ExportPart(_placed(key, folder, names), items, proof)


def _placed(key: str, folder: str, names: set[str]) -> str:
    """Where a data file lies now, whatever stood before the place in the bucket that the export was made into."""
    behind = key.rpartition(ROOT)[2]
    above = folder.rpartition(ROOT)[0] if ROOT in folder else folder
    beside = f"{folder}{behind.partition('/')[2]}"
    shared = f"{above}{ROOT}{behind}"
    return shared if shared in names or beside not in names else beside


def _require_json(summary: Mapping[str, object], name: str) -> None:
    kind = summary.get("outputFormat")
    if kind != _JSON_FORMAT:
        raise InvalidArgument(f"The export of {name} is in the format {kind}; export again with {_JSON_FORMAT}.")


def _require_all(parts: Sequence[ExportPart], summary: Mapping[str, object], folder: str, names: set[str]) -> None:
    if lost := [part for part in parts if part.name not in names]:
        raise Corrupt(
            f"{len(lost)} of the export's {len(parts)} data files are missing, with {sum(each.items for each in lost)} "
            f"items: {', '.join(each.name for each in lost)}; copy them again."
        )
    if (listed := sum(part.items for part in parts)) != summary.get("itemCount"):
        raise Corrupt(
            f"The export's {folder}{SUMMARY}.json counts {summary.get('itemCount')} items, and {_FILES}.json {listed}: "
            "they are not of one export."
        )


def _moment(summary: Mapping[str, object], name: str, file: str) -> datetime:
    try:
        at = datetime.fromisoformat(str(summary.get(name)))
    except ValueError as exc:
        raise Corrupt(f"The export's {file} does not tell its {name}.") from exc
    return at if at.tzinfo else at.replace(tzinfo=UTC)
