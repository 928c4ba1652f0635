"""The sync face of a store: the same objects without ``await``, on a loop of their own in a thread of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel

from storycore.entities.transactions import is_worth_another
from storycore.entities.writing import pause
from storycore.errors import DeadlineExceeded, Effect, InvalidArgument, TransactionConflict, Unavailable

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.caching.functions import Runner
    from storycore.opening import Opening

__all__ = ["SyncObject", "SyncStore"]

T = TypeVar("T")

_PLAIN = (str, bytes, int, float, bool, Decimal, date, timedelta, PurePath, Enum, BaseModel, Mapping, Sequence, set)
_FUNCTION_NAMES = ("__name__", "__qualname__", "__doc__", "__wrapped__", "__module__")
_CLOSE_SECONDS = 10.0
_END = object()


class _LoopThread:
    """One event loop in one daemon thread, usable from any other thread of the process that made it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._guard = threading.Lock()
        self._is_ending = False
        self._thread = threading.Thread(target=self._serve, name="storycore-sync", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
        """Run a coroutine to its end and give its result; an interrupt of the waiting thread cancels it."""
        future = self._begin(coroutine)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    @property
    def is_current(self) -> bool:
        """Whether it is the calling thread."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and its thread; whoever still waits for a coroutine hears that it was cancelled."""
        if not self._thread.is_alive():
            return
        with self._guard:
            if not self._is_ending:
                self._is_ending = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        if self._thread.is_alive():  # asked first, for in a forked child the lock may have been left locked
            with self._guard:
                if not self._is_ending:
                    return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise Unavailable("The store is closed; open it again with storycore.open_sync().")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_all_others())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class _Session:
    """The async store that a sync face speaks to, opened anew in a forked child."""

    def __init__(self, opening: Callable[[Runner], Opening]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._inherited: list[object] = []
        self._start()

    def _start(self) -> None:
        self._thread = _LoopThread()
        self._context = self._opening(self.run)
        self._closed = False
        try:
            self.store: Store = self._thread.run(self._context.__aenter__())
        except BaseException:
            self._thread.stop()
            raise

    @property
    def is_served_here(self) -> bool:
        """Whether the calling thread is the one that runs the store's loop."""
        return self._thread.is_current

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the store's loop."""
        _refuse_running_loop(coroutine)
        try:
            return self._thread.run(coroutine)
        except concurrent.futures.CancelledError as exc:
            if not self._closed:
                raise
            raise Unavailable("The store was closed during the call; open it again.", effect=Effect.UNKNOWN) from exc

    def resolve(self, path: Sequence[str]) -> Any:  # an attribute of the store, of whatever type
        """The async object at ``path`` below the store, of this process."""
        self.follow_fork()
        found: Any = self.store
        for name in path:
            found = getattr(found, name)
        return found

    def follow_fork(self) -> None:
        """Open the store anew in a forked child: threads and connections do not survive a fork.

        What was inherited is kept untouched until the child ends, since closing it could harm the parent's files.
        """
        if self._thread.pid == os.getpid() or self._closed:
            return
        with self._lock:
            if self._thread.pid != os.getpid():
                self._inherited += [self._thread, self._context, self.store]
                self._start()

    def close(self) -> None:
        """Close the store and its loop; a second call does nothing."""
        if self._closed or self._thread.pid != os.getpid():
            return
        self._closed = True
        try:
            self._thread.run(self._context.__aexit__(None, None, None), timeout=_CLOSE_SECONDS)
        except TimeoutError as exc:
            raise DeadlineExceeded(
                f"The store did not close within {_CLOSE_SECONDS:g} s and was let go; what was acknowledged is safe."
            ) from exc
        finally:
            self._thread.stop()


def _close_at_exit(session: _Session) -> None:
    """Close a store that was left open; acknowledged writes are safe either way, so nothing is reported."""
    if session.is_served_here:  # the garbage collector ran on the store's own loop, which must not wait for itself
        threading.Thread(target=_close_at_exit, args=(session,), name="storycore-sync close", daemon=True).start()
        return
    with contextlib.suppress(Exception):
        session.close()


class SyncObject:
    """An object of the store without ``await``: calls run to their end, listings are plain iterators.

    As an attribute of a class it behaves as what it stands for does, so that a cached function can be a method.
    """

    def __init__(
        self,
        session: _Session,
        find: Callable[[], Any],
        path: tuple[str, ...] | None = None,
        store: SyncStore | None = None,
    ) -> None:
        self._session = session
        self._find = find
        self._path = path
        self._store = store  # kept alive, for it is closed when nothing refers to it any more

    def __getattr__(self, name: str) -> Any:  # mirrors the async object's attribute
        if name.startswith("__") and name not in _FUNCTION_NAMES:
            raise AttributeError(name)
        value = getattr(self._find(), name)
        if isinstance(value, Mapping) and not all(map(_is_plain, value.values())):
            return {key: self._wrapped(partial(self._entry, name, key)) for key in value}
        if _is_plain(value):
            return value
        if self._path is None:
            return self._wrapped(lambda: getattr(self._find(), name))
        path = (*self._path, name)
        return self._wrapped(lambda: self._session.resolve(path), path)

    def __get__(self, instance: object, owner: type | None = None) -> SyncObject:
        found = self._find()
        if instance is None or not hasattr(type(found), "__get__"):
            return self
        return self._wrapped(lambda: found.__get__(instance, owner))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_others((*args, *kwargs.values()))
        args = tuple(map(_unwrapped, args))
        kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
        value = self._find()(*args, **kwargs)
        if inspect.isawaitable(value) or _is_plain(value):
            return self._settle(value)
        return self._wrapped(self._remade_after_fork(value, lambda: self._find()(*args, **kwargs)))

    def _refuse_others(self, values: Sequence[Any]) -> None:
        """A store's ports belong to its own loop; those of another store cannot be awaited there."""
        if any(isinstance(value, SyncStore) and value._session is not self._session for value in values):
            raise InvalidArgument(
                "Two stores without `await` have a loop each; restore from one into the other with "
                "`async with storycore.open(...)`, or with `storycore restore run --into PROFILE`."
            )

    def _remade_after_fork(self, value: Any, make: Callable[[], Any]) -> Callable[[], Any]:
        """A finder for what a call made, a region or a cached function; a forked child makes its own."""
        session, made = self._session, (self._session.store, value)

        def find() -> Any:
            nonlocal made
            session.follow_fork()
            if made[0] is not session.store:
                made = (session.store, make())
            return made[1]

        return find

    def __iter__(self) -> Iterator[Any]:
        walk = aiter(self._find())
        try:
            while (item := self._session.run(_next(walk))) is not _END:
                yield self._settle(item)
        finally:
            self._leave(walk)

    def __enter__(self) -> Any:
        found = self._find()
        if hasattr(found, "__enter__"):  # it concerns the calling thread, as a deadline does
            return found.__enter__()
        return self._settle(self._session.run(_await(found.__aenter__())))

    def __exit__(self, *exc_info: object) -> None:
        found = self._find()
        if hasattr(found, "__exit__"):
            found.__exit__(*exc_info)
        else:
            self._session.run(_await(found.__aexit__(*exc_info)))

    def __repr__(self) -> str:
        return f"<sync {self._find()!r}>"

    def _leave(self, walk: Any) -> None:  # an async iterator of anything
        """Let a walk that is left early do at once what it does at its end, where this thread can wait for it."""
        if hasattr(walk, "aclose") and not self._session.is_served_here:
            with contextlib.suppress(Unavailable, InvalidArgument):  # the store was closed, or a loop runs here
                self._session.run(walk.aclose())

    def _entry(self, name: str, key: object) -> Any:
        return getattr(self._find(), name)[key]

    def _settle(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            value = self._session.run(value if inspect.iscoroutine(value) else _await(value))
        return value if _is_plain(value) else self._wrapped(lambda: value)

    def _wrapped(self, find: Callable[[], Any], path: tuple[str, ...] | None = None) -> SyncObject:
        return SyncObject(self._session, find, path, self if isinstance(self, SyncStore) else self._store)


class SyncStore(SyncObject):
    """A store without ``await``; made by ``storycore.open_sync``.

    It may be used from any thread. In a forked child it opens the store anew; in a thread that runs an event loop it
    refuses to work, for it would block that loop. It is closed when neither it nor any object that it gave out is used
    any more, and when the interpreter ends.
    """

    def __init__(self, opening: Callable[[Runner], Opening]) -> None:
        _refuse_running_loop()
        session = _Session(opening)
        super().__init__(session, lambda: session.resolve(()), ())
        self._finalizer = weakref.finalize(self, _close_at_exit, session)

    def transaction(self, change: Callable[[Any], T], *, retries: int = 3, token: str | None = None) -> T:
        """As the async store's: ``change`` is a plain function of a unit without ``await``, and runs in this thread."""
        if retries < 0 or inspect.iscoroutinefunction(change):
            raise InvalidArgument("A sync transaction takes a plain function, and retries is 0 or more.")
        for attempt in range(retries + 1):
            try:
                with self.unit(token=token) as unit:
                    result = change(unit)
            except TransactionConflict as exc:
                if attempt == retries or not is_worth_another(exc):
                    raise
            else:
                return result
            self._session.run(pause(self._session.store.env, attempt))
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _unwrapped(value: Any) -> Any:
    """What a sync object handed to another one stands for; a loader, say, is awaited by the one that loads."""
    return value._find() if isinstance(value, SyncObject) else value


def _is_plain(value: object) -> bool:
    """Whether ``value`` is a result, and not an object of the store that has something to await."""
    if hasattr(value, "__aiter__") or hasattr(value, "__aenter__"):
        return False
    if value is None or isinstance(value, (*_PLAIN, type, BaseException)) or is_dataclass(value):
        return True
    return not callable(value) and not _has_coroutines(type(value))  # type: ignore[arg-type]  # a type can be hashed


@lru_cache(maxsize=256)
def _has_coroutines(kind: type) -> bool:
    return any(inspect.iscoroutinefunction(inspect.getattr_static(kind, name, None)) for name in dir(kind))


def _refuse_running_loop(coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if coroutine is not None:
        coroutine.close()
    raise InvalidArgument(
        "The sync store would block the event loop that is running in this thread; "
        "use `async with storycore.open(...)` and await its methods."
    )


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _cancel_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLOSE_SECONDS)


async def _next(walk: Any) -> Any:  # an async iterator of anything
    return await anext(walk, _END)
