"""Which chunker cuts which content type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from storycore.ingestion.config import IngestionConfig
from storycore.ingestion.documents import Chunker
from storycore.ingestion.html import HtmlChunker
from storycore.ingestion.markdown import MarkdownChunker
from storycore.ingestion.plain import CsvChunker, LinesChunker, TextChunker
from storycore.ingestion.records import JsonChunker, JsonLinesChunker

__all__ = ["builtin_chunkers", "chunker_fingerprint", "content_type_of", "pick_chunker"]

_REVISION = "1"
"""Raised when the built-in chunkers cut differently than before, so that documents are cut anew."""

_TYPES = {
    "text/markdown": ".md .markdown .mdown .mkd",
    "text/html": ".html .htm .xhtml",
    "application/json": ".json .geojson .jsonld",
    "application/x-ndjson": ".jsonl .ndjson",
    "text/csv": ".csv",
    "text/x-source": (
        ".py .pyi .js .mjs .ts .tsx .jsx .java .kt .scala .c .h .cc .cpp .hpp .cs .go .rs .rb .php .pl .lua .r .jl "
        ".swift .sh .bash .zsh .fish .ps1 .bat .sql .css .scss .xml .yaml .yml .toml .ini .cfg .conf .tf .proto "
        ".graphql .diff .patch"
    ),
}
_BY_SUFFIX = {suffix: content_type for content_type, suffixes in _TYPES.items() for suffix in suffixes.split()}
_SNIFFED_CHARS = 1000


def builtin_chunkers(config: IngestionConfig) -> dict[str, Chunker]:
    """The built-in chunkers by content type."""
    limit, minimum = config.chunk_chars, config.min_chars
    return {
        "text/markdown": MarkdownChunker(limit, minimum),
        "text/html": HtmlChunker(limit, minimum),
        "text/plain": TextChunker(limit, minimum),
        "text/csv": CsvChunker(limit),
        "text/x-source": LinesChunker(limit),
        "application/json": JsonChunker(limit),
        "application/x-ndjson": JsonLinesChunker(limit),
    }


def content_type_of(uri: str, text: str) -> str:
    """The content type by the name's suffix or, where that says nothing, by how the text begins."""
    known = _BY_SUFFIX.get(PurePosixPath(uri).suffix.lower())
    if known:
        return known
    beginning = text[:_SNIFFED_CHARS].lstrip().lower()
    if beginning.startswith(("<!doctype html", "<html")):
        return "text/html"
    return "text/x-source" if beginning.startswith(("#!", "<?xml")) else "text/plain"


def pick_chunker(chunkers: Mapping[str, Chunker], content_type: str) -> Chunker:
    """The chunker of ``content_type``, else the one for plain text."""
    return chunkers.get(content_type) or chunkers["text/plain"]


def chunker_fingerprint(chunker: Chunker) -> str:
    """What changes when the chunker cuts differently: its ``fingerprint``, else its options or its name."""
    own = getattr(chunker, "fingerprint", None)
    if isinstance(own, str):
        return own
    if type(chunker).__module__.startswith("storycore.ingestion."):
        return f"{_REVISION}:{chunker!r}"
    named = chunker if hasattr(chunker, "__qualname__") else type(chunker)
    return f"{named.__module__}.{getattr(named, '__qualname__', '')}"
