"""The composition root: a profile becomes a store. All wiring is here, and nothing looks anything up later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from storycore.analytics import Tracker
from storycore.building import InitReport, PortBuilder, demand
from storycore.caching.assembly import assembled as caching_of
from storycore.caching.assembly import embedder_of, entities_of, follower_of
from storycore.caching.following import Following
from storycore.caching.functions import Runner
from storycore.entities.catalog import Catalog
from storycore.errors import ConfigError
from storycore.layers.batching import BatchedEmbedder
from storycore.layers.deadline import Deadline
from storycore.layers.deferred import Deferred
from storycore.layers.metrics import Metrics
from storycore.layers.spilling import SpillingEntities
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.cache import Cache
from storycore.ports.embeddings import Embedder
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink
from storycore.ports.lifecycle import Health, Port, PortName, Provision
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import VectorIndex
from storycore.profiles import Profile, revealed
from storycore.story import repositories

if TYPE_CHECKING:
    from storycore.audit import AuditTrail
    from storycore.backup.service import Backups
    from storycore.health import Checkup, HealthReport
    from storycore.ingestion import Pipeline, Plan, Progress, Report
    from storycore.jobs import Jobs, Upkeep
    from storycore.search import Search
    from storycore.telemetry.families import Family

__all__ = ["InitReport", "Store"]


class Store(Catalog):
    """One data layer: repositories, cache, search, ingestion and events over the ports of a profile.

    Made by ``storycore.open``. A port is built and opened when it is first used; ``init`` creates what it needs.
    """

    def __init__(self, profile: Profile, plugins: Plugins, env: Environment, *, run: Runner | None = None) -> None:
        self.profile = profile
        self.env = env
        self.metrics = Metrics()
        self._plugins = plugins
        self._is_closed = False

        self._builder = PortBuilder(plugins, env, self.metrics)
        self._configs = {port: self._builder.config(port, profile.port(port)) for port in profile.ports}
        self.ports = {port: self._port(port) for port in profile.ports}
        self.vectors = cast(VectorIndex, self.ports[PortName.VECTORS])
        self.blobs = cast(BlobStore, self.ports[PortName.BLOBS])
        self.embedder = cast(Embedder, self.ports[PortName.EMBEDDER])
        self.reranker = cast("Reranker | None", self.ports.get(PortName.RERANKER))
        self.cache = caching_of(profile, plugins, env, cast(Cache, self.ports[PortName.CACHE]), run=run)
        self._audit: AuditTrail | None = None
        self._backups: Backups | None = None
        self._jobs: Jobs | None = None
        self._following: Following | None = None
        spills: dict[str, int | None] = {}
        records = cast(EntityStore, self.ports[PortName.ENTITIES])
        self._spilling = SpillingEntities(records, self.blobs, env, spills)
        self._cached, self._tagged = entities_of(profile, self._spilling, records, self.cache)
        watched = self._watched(PortName.ENTITIES)  # what the cache answers is an access too
        used = self._tagged if watched is None else cast(EntityStore, watched(self._tagged))
        super().__init__(used, records, env, cursor_key=self._signing_key(), spills=spills, met=self._tagged.meet)
        self.events = Tracker(cast(EventSink, self.ports[PortName.EVENTS]), env, types=self._event_types())

        story = repositories(self.entities, env, cursor_key=self._cursor_key)
        self.users = story.users
        self.sessions = story.sessions
        self.stories = story.stories
        self.templates = story.templates
        self.contents = story.contents
        self._know(story.entities)
        self._following = follower_of(
            profile, records, lambda: self._feed.resolve("latest"), self.cache, self._cached, self._tagged
        )

        self._chunk_sink = story.chunk_sink

    # the operations that concern the layer as a whole

    @cached_property
    def search(self) -> Search:
        """From a question in words to ranked passages."""
        from storycore.search import Search  # where nothing is searched nothing of it is imported

        return Search(self.vectors, self.embedder, reranker=self.reranker, namespace=self.profile.namespace)

    @property
    def backups(self) -> Backups:
        """Backups of this store: ``create``, ``list``, ``show``, ``verify``, ``plan_restore``, ``restore``, ``prune``.

        Raises:
            ConfigError: their settings cannot be used, or ``storycore[backup]`` is not installed.
        """
        if self._backups is None:
            from storycore.backup.assembly import assembled  # where nobody asks for backups nothing of them is imported

            self._backups = assembled(
                self.profile,
                self._plugins,
                self.env,
                self.ports,
                self._builder.another,
                ensure=lambda: self.init(warm_cache=False),
                settle=self.cache.clear,
            )
        return self._backups

    @property
    def audit(self) -> AuditTrail:
        """Who read and wrote what: ``records``, ``verify``, ``export``, ``prune``, ``forget``.

        Raises:
            ConfigError: the profile keeps no trail, or a setting cannot be used.
        """
        if self._audit is None:
            from storycore.audit.assembly import assembled  # where nothing is recorded nothing of it is imported

            self._audit = assembled(
                self.profile, self._plugins, self.env, self.ports[PortName.BLOBS], self._builder.another
            )
        return self._audit

    @property
    def jobs(self) -> Jobs:
        """What is done by the clock: ``job``, ``run``, ``serve``, ``list``, ``history``; nothing runs by itself."""
        if self._jobs is None:
            from storycore.jobs.assembly import assembled  # where nobody asks for jobs nothing of them is imported

            self._jobs = assembled(
                self.profile,
                cast(EntityStore, self.ports[PortName.ENTITIES]),
                self.env,
                upkeep=self._upkeep(),
                backups=lambda: self.backups,
                plugged=lambda: self._plugins.hook.storycore_jobs(store=self),
                track=self.events.track,
            )
        return self._jobs

    async def init(
        self, *, create_tables: bool = True, warm_cache: bool = True, enable_backups: bool = False
    ) -> InitReport:
        """Create what the profile's adapters need, and warm the cache. Doing it twice changes nothing.

        Args:
            create_tables: create files, folders, tables and indexes that are missing.
            warm_cache: read all templates into the cache.
            enable_backups: make the place and the key of backups.
        """
        actions: dict[str, Sequence[str]] = {}
        differences: dict[str, Sequence[str]] = {}
        if create_tables:
            for name, port in self.ports.items():
                found = await port.ensure()
                actions[name] = found.actions
                if found.differences:
                    differences[str(name)] = found.differences
        if self.profile.audit.enabled:
            actions["audit"] = await self.audit.ensure()
        if enable_backups:
            actions["backup"] = await self.backups.ensure()
        return InitReport(actions, await self.warm() if warm_cache else 0, differences)

    async def warm(self) -> int:
        """Read all templates into the cache, so that the first requests find them; returns how many."""
        return await self.templates.warm()

    async def warm_records(
        self, kinds: Sequence[str], *, plan: bool = False, progress: Callable[[int], None] | None = None
    ) -> dict[str, int]:
        """Read all entities of some kinds into the cache; how many there are of each.

        Args:
            plan: only count them.
            progress: told how many are done.

        Raises:
            ConfigError: the profile does not cache entities.
        """
        if self._cached is None:
            raise ConfigError("The profile does not cache entities; set caching.entities = true.", path="caching")
        return await self._cached.warm(kinds, plan=plan, progress=progress)

    async def ingest(
        self,
        path: Path | str,
        *,
        progress: Callable[[Progress], None] | None = None,
        max_delete_fraction: float = 0.2,
    ) -> Report:
        """Bring the index in step with a file or folder; only what changed is embedded.

        Args:
            path: a document, or a folder that is walked.
            progress: called as documents are done.
            max_delete_fraction: refuse to remove more than this share of the known documents; 1.0 allows all.
        """
        return await self._pipeline.run(Path(path), progress=progress, max_delete_fraction=max_delete_fraction)

    async def plan_ingest(self, path: Path | str) -> Plan:
        """What ``ingest`` would do; writes nothing."""
        return await self._pipeline.plan(Path(path))

    async def health(self, level: str = "detail", *, deep: bool = False) -> HealthReport:
        """Whether the store lives, is ready, or how each part does; a failure is an answer, no error.

        Args:
            level: ``"live"``: touches no port; ``"ready"``: reads and writes what the profile requires; ``"detail"``:
                every port, jobs where they are used, and whatever plugins add.
            deep: also check the integrity of what is stored, which may take long.

        Raises:
            InvalidArgument: there is no such level, or a deep look is asked of another than ``"detail"``.
        """
        return await self._checkup.look(level, deep=deep)

    def deadline(self, seconds: float) -> Deadline:
        """A block in which no operation of a port runs longer than until ``seconds`` from now.

        ``async with store.deadline(2.0): …``; of nested ones the sooner holds. An operation that the deadline meets is
        cancelled and raises ``DeadlineExceeded``: a write may have happened, and one that was not begun has not.
        """
        return Deadline(seconds)

    async def drift(self) -> dict[str, Provision]:
        """What differs from what the profile declares, for every port where something does; changes nothing.

        ``init`` does the actions; the differences it leaves, for they need somebody's decision.
        """
        found = {str(name): await port.ensure(dry_run=True) for name, port in self.ports.items()}
        return {name: each for name, each in found.items() if each.actions or each.differences}

    def infrastructure(self, format: str = "json", *, existing: bool = False) -> dict[str, object]:  # noqa: A002 - the option's own name
        """What must exist in a cloud for this profile, as one JSON document; connects to nothing.

        Args:
            format: ``"cloudformation"``, ``"terraform"`` or ``"json"``.
            existing: for resources that exist already and are to be taken over by the tool.

        Raises:
            InvalidArgument: there is no such format.
        """
        from storycore.infrastructure import declared, document

        return document(declared(self.profile, self._plugins), format, existing=existing)

    async def stats(self) -> dict[str, Any]:
        """Counts since the store was opened (operations, cache) and the size of the index, as plain values.

        ``consumed`` tells what services count for their bills, by port and operation: of DynamoDB capacity units.
        """
        from storycore.telemetry.readings import consumed

        vectors = await self.vectors.stats()
        return {
            "operations": self.metrics.as_dict(),
            "consumed": consumed(self.ports),
            "cache": self.cache.stats().as_dict(),
            "vectors": {"total": vectors.total, "namespaces": dict(vectors.counts), **vectors.detail},
        }

    def telemetry(self) -> Sequence[Family]:
        """What was counted since the store was opened, for exporters of metrics; at once, and from any thread."""
        from storycore.telemetry.readings import read

        return read(self.profile, self.ports, self.metrics, self.cache.stats(), self._jobs)

    async def maintain(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Do the housekeeping: remove expired sessions and spilled bodies that nobody needs, compact the index.

        Safe at any time, as often as you like. A ``dry_run`` tells what would be done, and changes nothing.
        """
        return await self._upkeep().all(dry_run=dry_run)

    def _upkeep(self) -> Upkeep:
        from storycore.jobs import Upkeep

        return Upkeep(
            expire=self.sessions.cleanup_expired, vectors=self.vectors, spilling=self._spilling, warm=self.warm
        )

    # the wiring

    def _port(self, port: PortName) -> Deferred:
        settings, config = self.profile.port(port), self._configs[port]
        if port is PortName.VECTORS:
            return self._builder.deferred(
                port, settings, lambda: self._fitted_to_embedder(config), dressed=self._watched(port)
            )
        dressed = self._dressed_embedder if port is PortName.EMBEDDER else self._watched(port)
        return self._builder.deferred(port, settings, lambda: config, dressed=dressed)

    def _watched(self, port: PortName) -> Callable[[Port], Port] | None:
        audit = self.profile.audit
        return (lambda inner: self.audit.watched(port, inner)) if audit.enabled and port in audit.ports else None

    def _dressed_embedder(self, embedder: Port) -> Port:
        return embedder_of(self.profile, BatchedEmbedder(cast(Embedder, embedder)), self.cache)

    def _fitted_to_embedder(self, config: BaseModel) -> BaseModel:
        """A vector index that is told no dimension or model takes the embedder's."""
        spec = self.embedder.spec
        own = {"dimension": spec.dimension, "embedding": spec.model}
        return config.model_copy(update={name: value for name, value in own.items() if getattr(config, name) is None})

    @cached_property
    def _pipeline(self) -> Pipeline:
        from storycore.ingestion.assembly import assembled  # where nothing is ingested nothing of it is imported

        return assembled(self.profile, self._plugins, self.env, self.ports, self._configs, self._chunk_sink)

    def _event_types(self) -> dict[str, type[BaseModel]]:
        return {name: model for given in self._plugins.hook.storycore_event_types() for name, model in given.items()}

    def _signing_key(self) -> bytes:
        secret = revealed(self.profile.cursor_key, path="cursor_key", plugins=self._plugins)
        return hashlib.blake2b(str(secret or self.profile.namespace).encode(), person=b"storycore cursor").digest()

    # opening and closing

    async def open(self) -> None:
        """Check what can be checked without I/O; ports open when they are used."""
        for given in self._plugins.hook.storycore_entities():
            self._know(given)
        for need in self.profile.requires:
            demand(need, self.profile, self.ports)
        if self._following is not None:
            settings = self.profile.port(PortName.ENTITIES)
            self.ports[PortName.ENTITIES].capabilities.check("entities.changes", adapter=settings.adapter)
            self._following.begin()
        self._plugins.hook.storycore_opened(store=self)

    async def close(self) -> None:
        """Close every port that was used; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        failures: list[BaseException] = []
        for close in (
            self._tell_closing,
            *([self._checkup.close] if "_checkup" in vars(self) else []),
            *([] if self._jobs is None else [self._jobs.close]),
            self._stop_following,
            self._feed.close,
            self.cache.close,
            *([] if self._backups is None else [self._backups.close]),
            *([] if self._audit is None else [self._audit.close]),
            *(port.close for port in reversed(self.ports.values())),
        ):
            try:
                await close()
            except BaseException as exc:  # a plugin's error or a cancellation too: every port gets its close first
                failures.append(exc)
        if failures:
            raise failures[0]

    async def _stop_following(self) -> None:
        if self._following is not None:
            await self._following.close()

    async def _tell_closing(self) -> None:
        self._plugins.hook.storycore_closing(store=self)

    @cached_property
    def _checkup(self) -> Checkup:
        from storycore.health.assembly import assembled

        return assembled(
            self.profile,
            self.ports,
            jobs=lambda: self.jobs.health(),
            plugged=self._more_lines,
            last_errors=self.metrics.last_errors,
        )

    def _more_lines(self) -> Sequence[Mapping[str, Health]]:
        audit = [] if self._audit is None else [self._audit.health()]
        return [*self._plugins.hook.storycore_health(store=self), *audit]
