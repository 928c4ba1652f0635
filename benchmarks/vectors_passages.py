"""Real text that any machine with Python has: what the sources of its modules say about themselves, and its embeddings.

Python's own modules alone have some 24 000 passages; the installed ones follow where more are asked for.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["embeddings"]

_SHORTEST, _LONGEST = 60, 240
_CALL = 256
Matrix = NDArray[np.float32]


def embeddings(count: int) -> Matrix:
    """Unit vectors of so many different passages by MiniLM; made once, and kept in the folder for temporary files."""
    passages = list(islice(_passages(), count))
    if len(passages) < count:
        raise SystemExit(f"There are {len(passages)} passages here; take fewer.")
    told = blake2b("\n".join(passages).encode(), digest_size=8).hexdigest()
    file = Path(tempfile.gettempdir()) / f"storycore-passages-{count}-{told}.npy"
    if not file.exists():
        fresh = file.with_suffix(".tmp.npy")
        np.save(fresh, asyncio.run(_embedded(passages)))
        fresh.replace(file)
    return np.asarray(np.load(file), np.float32)


def _passages() -> Iterator[str]:
    seen = set[str]()
    for name in ("stdlib", "purelib"):
        root = Path(sysconfig.get_path(name))
        for file in sorted(root.rglob("*.py")):
            if name == "stdlib" and "site-packages" in file.parts:
                continue
            for passage in _of(file):
                if passage not in seen:
                    seen.add(passage)
                    yield passage


def _of(file: Path) -> Iterator[str]:
    """The docstrings and the comments of a module, cut into passages."""
    try:
        source = file.read_text()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _cut(ast.get_docstring(node) or "")
    block: list[str] = []
    for line in (*source.splitlines(), ""):
        text = line.strip()
        if text.startswith("#"):
            block.append(text.lstrip("# "))
        elif block:
            yield from _cut(" ".join(block))
            block = []


def _cut(text: str) -> Iterator[str]:
    """Parts of at most 240 letters, at the ends of words; what is short is left out."""
    words, part = text.split(), ""
    for word in [*words, ""]:
        if not word or len(part) + len(word) >= _LONGEST:
            if len(part) >= _SHORTEST:
                yield part
            part = word[:_LONGEST]
        else:
            part = f"{part} {word}" if part else word


async def _embedded(passages: list[str]) -> Matrix:
    from storycore_minilm.config import MiniLMConfig
    from storycore_minilm.embedder import open_embedder

    from storycore.ports.environment import Environment

    vectors: list[Matrix] = []
    async with open_embedder(MiniLMConfig(), Environment()) as embedder:
        for low in range(0, len(passages), _CALL):
            some = await embedder.embed(passages[low : low + _CALL], purpose="document")
            vectors.append(np.array([np.asarray(vector, np.float32) for vector in some]))
            print(f"embedded {low + len(some)} of {len(passages)}", file=sys.stderr, flush=True)
    found = np.concatenate(vectors)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)
