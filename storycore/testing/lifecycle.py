"""What every port promises about opening, provisioning, health and closing; each port's suite derives from this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from storycore.errors import NotProvisioned, Unavailable, Unsupported
from storycore.health.probes import PROBES
from storycore.plugins import Adapter
from storycore.ports.lifecycle import AdapterInfo
from storycore.testing.harness import Harness
from storycore.testing.servers import OWN, divergence, served

__all__ = ["LifecycleSuite"]


class LifecycleSuite:
    """Tests of the part that all ports have in common. A suite that derives gives the fixture ``harness``.

    Args:
        adapter: what is tested: an adapter, or the name of an installed one.
        serve: whether to start the server that the adapter brings; ``False``: its settings name a real place.
        emulator: which server the settings lead to, where it may differ from the service; see ``divergence``.
    """

    adapter: ClassVar[str | Adapter]
    serve: ClassVar[bool] = True
    emulator: ClassVar[str] = ""

    @pytest.fixture(name="served")
    def settings_of_the_server(self, request: pytest.FixtureRequest) -> Mapping[str, object]:
        """The settings that lead to the adapter's server; a test in which it is known to differ is expected to fail."""
        names = {request.node.name, request.node.originalname}
        emulator = self.emulator or (OWN if self.serve else "")
        if emulator and (known := divergence(self.adapter, names, emulator=emulator)):
            request.applymarker(pytest.mark.xfail(reason=known, strict=True))
        return served(self.adapter, request.config) if self.serve else {}

    async def probe(self, store: Any) -> object:
        """One cheap read of the port."""
        raise NotImplementedError

    @pytest.mark.asyncio
    async def test_identity_and_capabilities_are_known_before_opening(self, harness: Harness) -> None:
        """``info`` and ``capabilities`` need no open store, and opening does not change them."""
        made = harness.make()
        info, capabilities = made.info, made.capabilities
        assert (harness.spec.name, AdapterInfo) == (info.adapter, type(info))
        store = await harness.started()
        assert capabilities.guarantees == store.capabilities.guarantees
        await store.close()

    @pytest.mark.asyncio
    async def test_a_store_that_is_not_open_is_unavailable(self, harness: Harness) -> None:
        """An operation before ``open`` raises ``Unavailable`` and does nothing."""
        with pytest.raises(Unavailable):
            await self.probe(harness.make())

    @pytest.mark.asyncio
    async def test_a_closed_store_is_unavailable(self, harness: Harness) -> None:
        """An operation after ``close`` raises ``Unavailable``."""
        store = await harness.started()
        await store.close()
        with pytest.raises(Unavailable):
            await self.probe(store)

    @pytest.mark.asyncio
    async def test_opening_and_closing_twice_does_nothing(self, harness: Harness) -> None:
        """The second ``open`` keeps the store usable, the second ``close`` is silent."""
        store = await harness.started()
        await store.open()
        await self.probe(store)
        await store.close()
        await store.close()
        assert (await store.health()).ok is False

    @pytest.mark.asyncio
    async def test_ensure_changes_nothing_the_second_time(self, harness: Harness) -> None:
        """``ensure`` may be repeated, before and after ``open``, and then has nothing to do."""
        store = harness.make()
        await store.ensure()
        assert list((await store.ensure()).actions) == []
        await store.open()
        assert list((await store.ensure()).actions) == []
        await store.close()

    @pytest.mark.asyncio
    async def test_a_dry_run_of_ensure_creates_nothing(self, harness: Harness) -> None:
        """``ensure(dry_run=True)`` tells what is missing and leaves it missing."""
        planned = await harness.make().ensure(dry_run=True)
        again = await harness.make().ensure(dry_run=True)
        assert list(planned.actions) == list(again.actions)
        if planned.actions:
            with pytest.raises(NotProvisioned):
                await harness.make().open()

    @pytest.mark.asyncio
    async def test_health_answers_and_never_raises(self, harness: Harness) -> None:
        """Health is bad with a reason before ``ensure`` and after ``close``, and good while open, deep or not.

        The probe of ``store.health()``, a read and a write without a trace, holds an open store for well too.
        """
        unopened = await harness.make().health()
        assert (unopened.ok, bool(unopened.detail)) == (False, True)
        store = await harness.started()
        for deep in (False, True):
            health = await store.health(deep=deep)
            assert health.ok, health.detail
            assert health.latency_ms >= 0
            probed = await PROBES[harness.port](store, True)
            assert probed.ok, probed.detail
        await store.close()
        closed = await store.health(deep=True)
        assert (closed.ok, bool(closed.detail)) == (False, True)

    @pytest.mark.asyncio
    async def test_an_unknown_raw_client_is_unsupported(self, harness: Harness) -> None:
        """``native`` refuses a type that is not behind the port."""
        store = await harness.started()
        with pytest.raises(Unsupported):
            store.native(LifecycleSuite)
        await store.close()

    @pytest.mark.asyncio
    async def test_async_with_opens_and_closes(self, harness: Harness) -> None:
        """Leaving ``async with`` closes the store, also after an error."""
        await harness.make().ensure()
        store = harness.make()
        with pytest.raises(ZeroDivisionError):
            async with store:
                await self.probe(store)
                raise ZeroDivisionError
        with pytest.raises(Unavailable):
            await self.probe(store)
