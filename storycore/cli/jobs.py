"""``storycore jobs``: run by the clock what is to be done, and see how it went."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from datetime import datetime

    from storycore.app import Store
    from storycore.jobs import RunRecord, Status

__all__ = ["jobs"]


@click.group()
def jobs() -> None:
    """Run by the clock what is to be done, late rather than never, and see how it went."""


@jobs.command()
@click.argument("name", required=False)
@common_options
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Serve metrics for Prometheus on this port, 0 for a free one."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address on which they are served.")
@click.option("--dry-run", is_flag=True, help="Only say what NAME would do.")
def run(common: Common, name: str | None, metrics_port: int | None, metrics_host: str, dry_run: bool) -> int:
    """Run the job NAME once, now; without NAME run all jobs when they are due, until Ctrl-C.

    Any number of processes may run jobs; each due time is one's. Exit status 1 when NAME did not end well.
    """
    from storycore.cli.output import print_json

    if dry_run:
        return _tell_plan(common, name)
    if name is not None and metrics_port is not None:
        raise click.UsageError("--metrics-port is for a runner, which is run without NAME.")
    if name is None:
        place = None if metrics_port is None else (metrics_host, metrics_port)
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(common, lambda record: _line(record, as_json=common.as_json), place))
        click.echo("Stopped.", err=True)
        return 0
    record = asyncio.run(_run_once(common, name))
    if common.as_json:
        print_json({"run": record})
    else:
        _line(record, as_json=False)
    return 0 if record.outcome == "done" else 1


@jobs.command(name="list")
@common_options
def list_(common: Common) -> int:
    """Show all jobs: when each is due next, when it last ended well, what was missed. Status 1 when one is not well."""
    from storycore.cli.output import escape, print_json, show, table

    found, unknown = asyncio.run(_listed(common))
    is_well = all(status.standing.is_well for status in found)
    if common.as_json:
        print_json({"ok": is_well, "jobs": found, "unknown": unknown})
        return 0 if is_well else 1
    made = table("job", "schedule", "state", "next", "last good", "good/bad/out")
    made.columns[0].no_wrap = True
    for status in found:
        count = {name: status.counts.get(name, 0) for name in ("done", "failed", "timed_out", "given_up")}
        bad = count["failed"] + count["timed_out"] + count["given_up"]
        left_out = status.counts.get("missed", 0) + status.counts.get("skipped", 0)
        state = str(status.standing) if status.standing.is_well else f"[red]{status.standing}[/]"
        times = _short(status.next), _short(status.last_good)
        made.add_row(status.name, status.cron, state, *times, f"{count['done']}/{bad}/{left_out}")
    zones = ", ".join(sorted({status.zone for status in found}))
    details = [f"[red]{escape(status.detail)}[/]" for status in found if not status.standing.is_well]
    show(
        made,
        f"Schedules are in {escape(zones)}, times are this machine's.",
        *details,
        *(escape(sentence) for sentence in unknown),
    )
    return 0 if is_well else 1


@jobs.command()
@click.argument("name", required=False)
@common_options
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many lines.")
def history(common: Common, name: str | None, limit: int) -> None:
    """Show how the last runs of the job NAME, or of all jobs, ended, newest first."""
    from storycore.cli.output import escape, print_json, show, table

    found = asyncio.run(_history(common, name, limit))
    if common.as_json:
        return print_json({"runs": found})
    made = table("at", "due", "job", "outcome", "detail")
    for column in made.columns[:3]:
        column.no_wrap = True
    for record in found:
        outcome = str(record.outcome) if record.count == 1 else f"{record.outcome} ({record.count})"
        shown = escape(record.detail)
        made.add_row(*(_second(each) for each in (record.at, record.due)), record.job, outcome, shown)
    return show(made, "Times are this machine's.")


@jobs.command()
@click.argument("name")
@common_options
@click.option("--yes", is_flag=True, help="Forget it.")
def reset(common: Common, name: str, yes: bool) -> None:
    """Forget what is remembered of the job NAME, so that it begins anew; for one whose record is damaged.

    It owes nothing then; whoever runs it now loses its turn. The history stays.
    """
    from storycore.cli.output import escape, print_json, show

    if not yes:
        raise click.UsageError("Due times that were missed are then not caught up: --yes does it all the same.")
    asyncio.run(_reset(common, name))
    if common.as_json:
        return print_json({"reset": name})
    return show(f"The job {escape(name)} begins anew.")


async def _serve(common: Common, heard: Callable[[RunRecord], None], metrics: tuple[str, int] | None) -> None:
    from storycore.cli.output import counted

    serving = asyncio.current_task()
    assert serving is not None
    with suppress(NotImplementedError):  # Windows has no such signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        async with common.open() as store:
            for sentence in store.jobs.unknown():
                click.echo(sentence, err=True)
            with _measured(store, metrics):
                jobs = counted(len(store.jobs.names()), "jobs")
                click.echo(f"Running {jobs} when due, until Ctrl-C.", err=True)
                await store.jobs.serve(heard=heard)


@contextmanager
def _measured(store: Store, place: tuple[str, int] | None) -> Iterator[None]:
    """Serve the store's metrics while it runs jobs."""
    if place is None:
        yield
        return
    from storycore.telemetry.prometheus import StoreCollector, served

    host, port = place
    with served(StoreCollector(store), host=host, port=port) as found:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"Metrics are at http://{shown}:{found}/metrics.", err=True)
        yield


def _tell_plan(common: Common, name: str | None) -> int:
    from storycore.cli.output import escape, print_json, show
    from storycore.jobs.turns import shown

    if name is None:
        raise click.UsageError("--dry-run is about one job; name it.")
    found = asyncio.run(_planned(common, name))
    if common.as_json:
        print_json({"dry_run": True, "job": name, "would": found})
    else:
        show(f"{escape(name)} would: {escape(shown(found))}")
    return 0


async def _planned(common: Common, name: str) -> object:
    async with common.open() as store:
        return await store.jobs.plan(name)


async def _run_once(common: Common, name: str) -> RunRecord:
    async with common.open() as store:
        return await store.jobs.run(name)


async def _reset(common: Common, name: str) -> None:
    async with common.open() as store:
        await store.jobs.reset(name)


async def _listed(common: Common) -> tuple[Sequence[Status], Sequence[str]]:
    async with common.open() as store:
        return await store.jobs.list(), store.jobs.unknown()


async def _history(common: Common, name: str | None, limit: int) -> Sequence[RunRecord]:
    async with common.open() as store:
        return await store.jobs.history(name, limit=limit)


def _line(record: RunRecord, *, as_json: bool) -> None:
    """One line for what a job did, at once."""
    import orjson

    from storycore.cli.output import escape, show

    if as_json:
        click.echo(orjson.dumps(record, option=orjson.OPT_UTC_Z).decode())
        return
    due = "by hand" if record.due is None else f"due {_at(record.due)}"
    count = f" {record.count} times," if record.count > 1 else ""
    show(f"{_at(record.at)} {record.job} {record.outcome},{count} {due} {escape(record.detail)}".rstrip())


def _short(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%m-%d %H:%M")


def _second(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%m-%d %H:%M:%S")


def _at(moment: datetime | None) -> str:
    """A moment as people here read it, with the zone."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
