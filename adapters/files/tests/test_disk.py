"""Crashes, full disks, permissions, memory and file descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import stat
import tempfile
import threading
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from storycore_files._faults import translating
from storycore_files._folder import Folder

from storycore.errors import (
    AccessDenied,
    Corrupt,
    Effect,
    NotProvisioned,
    StorageFull,
    StorycoreError,
    Unavailable,
)
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness
from storycore.testing.processes import Line, child


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.BLOBS, "files", {}, tmp_path)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[Any]:
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def root(harness: Harness) -> Path:
    return harness.path / "blobs"


def drafts(root: Path) -> list[Path]:
    return list((root / "drafts").iterdir())


async def put_half(store: Any, line: Line) -> None:
    """Put one blob whole and one by half, and wait for the end."""
    await store.put("whole", b"whole", when=ANY)

    async def halves() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        line.say("half")
        line.hear()

    await store.put("half", halves(), when=ANY)


async def test_a_killed_writer_leaves_nothing_behind(harness: Harness, root: Path) -> None:
    """The half blob was never visible; its draft is kept while its writer lives and swept when it is dead."""
    store = await harness.started()
    async with child(harness, f"{__name__}:put_half") as writer:
        assert await writer.hear() == "half"
        assert [blob.key for blob in (await store.entries()).blobs] == ["whole"]
        assert (await store.ensure()).actions == []
        other = await harness.started()
        await other.close()
        assert len(drafts(root)) == 1
        await writer.kill()
    assert len(drafts(root)) == 1
    planned = await store.ensure(dry_run=True)
    assert [len(planned.actions), len(drafts(root))] == [1, 1]
    await store.ensure()
    assert drafts(root) == []
    assert [blob.key for blob in (await store.entries()).blobs] == ["whole"]
    await store.close()


async def test_opening_sweeps_what_a_crash_has_left(harness: Harness, root: Path) -> None:
    """An application that never calls ``ensure`` again does not gather drafts either."""
    await (await harness.started()).close()
    (root / "drafts" / "orphan").write_bytes(b"x" * 1000)
    store = harness.make()
    await store.open()
    assert drafts(root) == []
    await store.close()


async def test_failed_and_cancelled_puts_leave_no_draft(store: Any, root: Path) -> None:
    """Whatever ends a put, its draft goes with it."""
    await store.put("a", b"a", when=ABSENT)
    for call in (store.put("a", b"b", when=ABSENT), store.put("b", b"b", when=ANY, sha256="0" * 64)):
        with pytest.raises(StorycoreError):
            await call
    tasks = [asyncio.create_task(store.put(f"c{i}", pieces(*[b"x" * 300_000] * 9), when=ANY)) for i in range(8)]
    for turns, task in enumerate(tasks):
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    listed = {blob.key for blob in (await store.entries()).blobs}
    assert drafts(root) == []
    for i, result in enumerate(results):
        assert isinstance(result, asyncio.CancelledError) or f"c{i}" in listed


async def test_closing_ends_puts_and_reads_cleanly(harness: Harness, root: Path) -> None:
    """A put that is under way when the store closes is ``Unavailable`` and leaves nothing."""
    store = await harness.started()
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        begun.set()
        await go_on.wait()
        yield b"y"

    task = asyncio.create_task(store.put("a", slow(), when=ANY))
    await begun.wait()
    await store.close()
    go_on.set()
    with pytest.raises(Unavailable):
        await task
    assert drafts(root) == []
    await store.open()
    assert await store.head("a") is None
    await store.close()


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The system refuses larger files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_write_that_finds_no_space_leaves_what_was_there(store: Any, root: Path) -> None:
    """``StorageFull``, the old blob whole, no draft left to fill the disk further."""
    await store.put("a", b"old", when=ANY)
    await store.put("large", b"x" * 400_000, when=ANY)
    with largest_file(300_000):
        for call in (
            store.put("a", b"x" * 400_000, when=ANY),
            store.put("a", pieces(*[b"x" * 100_000] * 4), when=ANY),
            store.put("a", b"x" * 299_999, when=ANY),
            store.copy("large", "a", when=ANY),
        ):
            with pytest.raises(StorageFull) as caught:
                await call
            assert caught.value.effect is Effect.NONE
    assert drafts(root) == []
    assert await content_of(store, "a") == b"old"
    await store.put("a", b"new", when=ANY)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, AccessDenied),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.ENOENT, NotProvisioned),
        (errno.ELOOP, Corrupt),
        (errno.EMFILE, Unavailable),
        (errno.EIO, Unavailable),
    ],
)
def test_the_errors_of_the_system_are_translated(number: int, error: type[StorycoreError]) -> None:
    """Each has one meaning, names the deed, and keeps its cause."""
    with pytest.raises(error, match="write the blob 'a'") as caught, translating("write the blob 'a'"):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("failure", "said"), [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError(), "OSError")]
)
def test_an_error_without_a_meaning_of_its_own_is_told_in_its_words(failure: OSError, said: str) -> None:
    """The system's, or its class where it says nothing."""
    with pytest.raises(Unavailable) as caught, translating("read the blob 'a'"):
        raise failure
    assert caught.value.message == f"Cannot read the blob 'a': {said}."


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions do not bind the superuser, so step down while they are tested."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user may reach."""
    path = Path(tempfile.mkdtemp(prefix="storycore-"))
    path.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path)


async def test_a_read_only_root_is_read(open_place: Path) -> None:
    """Blobs can be read and listed; every write is ``AccessDenied``."""
    harness = Harness(PortName.BLOBS, "files", {}, open_place)
    store = await harness.started()
    await store.put("a/b", b"abc", when=ANY)
    await store.close()
    for folder, _, files in os.walk(open_place):
        Path(folder).chmod(0o555)
        for name in files:
            (Path(folder) / name).chmod(0o444)
    with ordinary_user():
        async with harness.make() as store:
            assert await content_of(store, "a/b") == b"abc"
            assert [blob.key for blob in (await store.entries()).blobs] == ["a/b"]
            assert (await store.health(deep=True)).ok
            for call in (store.put("c", b"", when=ANY), store.copy("a/b", "c", when=ANY), store.delete(["a/b"])):
                with pytest.raises(AccessDenied):
                    await call


async def test_a_root_that_may_not_be_read_is_denied(open_place: Path) -> None:
    """Neither opening nor making it works, and both say why."""
    harness = Harness(PortName.BLOBS, "files", {}, open_place)
    await (await harness.started()).close()
    (open_place / "blobs").chmod(0o000)
    with ordinary_user():
        with pytest.raises(AccessDenied):
            await harness.make().open()
        with pytest.raises(AccessDenied):
            await harness.make().ensure()


async def test_only_the_owner_may_look(store: Any, root: Path) -> None:
    """Folders are made with 0700 and files with 0600."""
    await store.put("a/b", b"", when=ANY)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [root, *root.rglob("*")]}
    assert {path: 0o700 if path.is_dir() else 0o600 for path in modes} == modes


async def test_a_root_behind_a_link_is_fine(tmp_path: Path) -> None:
    """Where the root is, is its owner's business."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "blobs").symlink_to(tmp_path / "disk")
    store = await Harness(PortName.BLOBS, "files", {}, tmp_path).started()
    await store.put("a/b", b"x", when=ANY)
    assert await content_of(store, "a/b") == b"x"
    assert store.native(Path) == tmp_path / "disk"
    await store.close()


def test_one_folder_may_be_made_by_many_at_once(tmp_path: Path) -> None:
    """Whoever comes first makes it, and nobody takes what another has just begun for left over."""

    def make(root: Path, start: threading.Barrier) -> None:
        folder = Folder(root, lambda: uuid.uuid4().hex)
        start.wait()
        folder.missing()
        folder.provision()
        folder.verify()

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            root, start = tmp_path / str(number), threading.Barrier(8)
            for made in [threads.submit(make, root, start) for _ in range(8)]:
                made.result()
            assert drafts(root) == []


async def test_deleting_the_last_blob_removes_its_folders(store: Any, root: Path) -> None:
    """Folders do not outlive what they hold, and come back when needed."""
    for _ in range(2):
        await store.put("a/b/c", b"", when=ANY)
        await store.put("a/d", b"", when=ANY)
        await store.delete(["a/b/c"])
        assert sorted(path.name for path in (root / "blobs").rglob("*")) == ["a+", "d"]
        await store.delete(["a/d"])
        assert list((root / "blobs").iterdir()) == []


async def test_folders_come_and_go_under_many_writers(store: Any) -> None:
    """A put never fails or loses its blob because another task has just removed the folder."""

    async def churn(name: str) -> None:
        for _ in range(15):
            await store.put(f"x/y/{name}", name.encode(), when=ABSENT)
            assert await content_of(store, f"x/y/{name}") == name.encode()
            assert await store.delete([f"x/y/{name}"]) == [True]

    await asyncio.gather(*(churn(str(i)) for i in range(8)))
    assert (await store.entries()).blobs == []


async def test_large_blobs_pass_through_little_memory(store: Any) -> None:
    """Writing, reading and copying 48 MiB holds a few pieces at a time, even when one piece of the source is large."""
    size, piece = 48 * 1024 * 1024, b"x" * 100_000

    async def source() -> AsyncIterator[bytes]:
        for start in range(0, size, len(piece)):
            yield piece[: size - start]

    tracemalloc.start()
    try:
        await store.put("a", source(), when=ANY)
        await store.copy("a", "b", when=ANY)
        async with await store.get("b") as reader:
            total = sum([len(chunk) async for chunk in reader])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == size
    assert peak < 6 * 1024 * 1024


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_no_file_stays_open(harness: Harness) -> None:
    """Neither success nor failure nor cancellation nor a forgotten reader keeps a descriptor after closing."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts only
    store = await harness.started()
    await store.put("a", b"x" * 1_000_000, when=ANY)
    forgotten = []
    for _ in range(20):
        forgotten.append(await store.get("a"))
        async with await store.get("a") as reader:
            await anext(aiter(reader))
        with pytest.raises(StorycoreError):
            await store.put("a", b"", when=ABSENT)
        task = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.close()
    assert len(forgotten) == 20
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - counts only
