"""``storycore audit``: who read and wrote what, and whether the record of it is as it was written."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, Moment, common_options

if TYPE_CHECKING:
    from storycore.audit import AuditExported, AuditPruned, AuditRecord, AuditReport

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """See who read and wrote what, and whether the record of it is as it was written."""


@audit.command(name="list")
@common_options
@click.option("--since", type=Moment(), metavar="MOMENT", help="Only from here on: 2026-11-22T14:03:07Z.")
@click.option("--until", type=Moment(), metavar="MOMENT", help="Only before this.")
@click.option("--actor", default="", help="Only of this one: user:ada, job:backup.daily, os:…")
@click.option("--action", default="", help="Only this: entities.write, or all of a port: entities.")
@click.option("--key", help="Only about this: the name of a blob, a vector's id, or PARTITION/SORT-KEY of an entity.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many.")
def list_(common: Common, limit: int, **wish: Any) -> None:
    """Show what was recorded, the newest last."""
    from storycore.cli.output import counted, escape, print_json, show, table

    found = asyncio.run(_records(common, limit, wish))
    if common.as_json:
        return print_json({"records": found})
    made = table("at", "who", "did", "outcome", "to")
    for record in found:
        who = record.actor + (f" ({record.reason})" if record.reason else "")
        what = ", ".join(f"{count} {kind}" for kind, count in sorted(record.kinds.items()))
        at = record.at.strftime("%Y-%m-%d %H:%M:%S")
        made.add_row(at, escape(who), record.action, record.outcome, escape(what))
    return show(made, f"{counted(len(found), 'records')}; times are UTC.")


@audit.command()
@common_options
@click.option("--file", "path", metavar="FILE", help="An export instead of the trail itself.")
def verify(common: Common, path: str | None) -> int:
    """Walk the whole trail and say what is not as it was written. Exit status 1 when something is not."""
    from storycore.cli.output import counted, escape, print_json, show

    report = asyncio.run(_verified(common, path))
    if common.as_json:
        print_json({"ok": report.is_whole, **_plain(report)})
    else:
        said = "[green]as they were written[/]" if report.is_whole else "[red]not all is as it was written[/]"
        show(
            f"{counted(report.records, 'records')} in {counted(report.chains, 'chains')}: {said}.",
            *(f"[red]{finding.kind}[/]: {escape(finding.detail)}" for finding in report.findings),
            *(f"[dim]{escape(sentence)}[/]" for sentence in report.unclosed),
        )
    return 0 if report.is_whole else 1


@audit.command()
@common_options
@click.option("--to", "path", metavar="FILE", required=True, help="A new file.")
def export(common: Common, path: str) -> None:
    """Write the whole trail into a new file of JSON lines, which `storycore audit verify --file` verifies."""
    from storycore.cli.output import counted, escape, print_json, show

    done = asyncio.run(_exported(common, path))
    if common.as_json:
        return print_json({"path": str(done.path), "chains": done.chains, "records": done.records})
    what = f"{counted(done.records, 'records')} of {counted(done.chains, 'chains')}"
    return show(f"Wrote {what} into {escape(str(done.path))}.")


@audit.command()
@common_options
@click.option("--before", type=Moment(), metavar="MOMENT", required=True, help="What is older goes.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Remove it.")
def prune(common: Common, before: datetime, dry_run: bool, yes: bool) -> None:
    """Remove old records; the rest verifies as before."""
    from storycore.cli.output import counted, escape, print_json, show

    if not (dry_run or yes):
        raise click.UsageError("What is pruned does not come back: --yes does it, --dry-run says what would go.")
    done = asyncio.run(_pruned(common, before, dry_run=dry_run))
    if common.as_json:
        told = {"records": done.records, "chains": done.chains, "refused": done.refused}
        return print_json({"dry_run": dry_run, **told})
    refused = [f"  kept: {escape(why)}" for why in done.refused.values()]
    records, chains = counted(done.records, "records"), counted(done.chains, "chains")
    return show(f"{records} {'would go' if dry_run else 'went'}, and {chains} as a whole.", *refused)


@audit.command()
@click.argument("user")
@common_options
@click.option("--yes", is_flag=True, help="Destroy it.")
def forget(common: Common, user: str, yes: bool) -> None:
    """Destroy the key by which records are known to be of USER; as the last step of an erasure."""
    from storycore.cli.output import escape, print_json, show

    if not yes:
        raise click.UsageError("Nobody can find the records of a user who is forgotten: --yes does it all the same.")
    done = asyncio.run(_forgotten(common, user))
    if common.as_json:
        return print_json({"user": user, "had_key": done})
    return show(f"{escape(user)} {'is forgotten' if done else 'was in no record, or is forgotten already'}.")


async def _records(common: Common, limit: int, wish: dict[str, Any]) -> list[AuditRecord]:
    from storycore.ports.entities import Key

    partition, slash, rest = (wish["key"] or "").partition("/")
    keys = [wish["key"], *([Key(partition, rest)] if slash and partition and rest else [])]
    found: deque[AuditRecord] = deque(maxlen=limit)
    async with common.open() as store:
        for key in keys:
            found.extend([record async for record in store.audit.records(**{**wish, "key": key})])
    return list(found) if len(keys) == 1 else sorted(found, key=lambda each: (each.at, each.chain, each.seq))


async def _verified(common: Common, path: str | None) -> AuditReport:
    async with common.open() as store:
        return await (store.audit.verify() if path is None else store.audit.verify_file(path))


async def _exported(common: Common, path: str) -> AuditExported:
    async with common.open() as store:
        return await store.audit.export(path)


async def _pruned(common: Common, before: datetime, *, dry_run: bool) -> AuditPruned:
    async with common.open() as store:
        return await store.audit.prune(before, dry_run=dry_run)


async def _forgotten(common: Common, user: str) -> bool:
    async with common.open() as store:
        return await store.audit.forget(user)


def _plain(report: AuditReport) -> dict[str, object]:
    return {
        "chains": report.chains,
        "records": report.records,
        "findings": report.findings,
        "unclosed": report.unclosed,
    }
