"""``storycore ingest``: make documents searchable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, FilledPath, common_options

if TYPE_CHECKING:
    from storycore.ingestion import Plan, Report

__all__ = ["ingest"]

_LINES_SHOWN = 50
_ALL = 1.0
_CAUTIOUS = 0.2


@click.command()
@click.argument("path", type=FilledPath(path_type=Path))
@common_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done; nothing is written.")
@click.option("--yes", is_flag=True, help="Also remove when many documents are gone; else a fifth at most.")
def ingest(common: Common, path: Path, dry_run: bool, yes: bool) -> int:
    """Bring the index in step with PATH, a document or a folder of documents.

    Only what has changed is embedded, so running it again is cheap, and after an interrupt it goes on where it
    stopped. Exit status 3 when some documents could not be read or removed; the others are done. 1 when none was.
    """
    from storycore.cli.output import print_json

    found = asyncio.run(_plan(common, path) if dry_run else _ingest(common, path, force=yes))
    if common.as_json:
        print_json({"dry_run": dry_run, "path": path, "report": found})
    else:
        _show(found, dry_run=dry_run)
    return _status(found)


def _status(found: Plan) -> int:
    from storycore.cli.failures import FAILED, PARTIAL

    if found.failed and not found.documents:
        return FAILED
    return PARTIAL if found.failed or found.skipped or _withheld(found) else 0


async def _plan(common: Common, path: Path) -> Plan:
    async with common.open() as store:
        return await store.plan_ingest(path)


async def _ingest(common: Common, path: Path, *, force: bool) -> Report:
    from storycore.cli.progress import ingestion_progress

    async with common.open() as store:
        with ingestion_progress() as progress:
            return await store.ingest(path, progress=progress, max_delete_fraction=_ALL if force else _CAUTIOUS)


def _show(found: Plan, *, dry_run: bool) -> None:
    from storycore.cli.output import counted, show

    would = "would be " if dry_run else ""
    show(
        f"{counted(found.documents, 'documents')}: "
        f"{len(found.added)} {would}added, {len(found.changed)} {would}changed, "
        f"{len(found.unchanged)} unchanged, {len(found.removed)} {would}removed",
        f"passages: {found.chunks_embedded} {would}embedded, {found.chunks_deleted} {would}deleted, "
        "all others stay as they are",
        *_troubles(found),
    )


def _troubles(found: Plan) -> list[str]:
    """What was not done and why, as lines of rich markup; long lists are cut."""
    from storycore.cli.output import escape

    lines = [f"[red]failed[/] {escape(f.uri)}: {f.stage}: {escape(f.error)}" for f in found.failed]
    lines += [f"[yellow]skipped[/] {escape(s.uri)}: {escape(s.reason)}" for s in found.skipped]
    if len(lines) > _LINES_SHOWN:
        lines[_LINES_SHOWN:] = [f"… and {len(lines) - _LINES_SHOWN} more; --json names them all."]
    if withheld := _withheld(found):
        lines.append(f"[yellow]{len(withheld)} documents are gone but were kept:[/] {escape(_reason(found))}")
    return lines


def _withheld(found: Plan) -> Sequence[str]:
    from storycore.ingestion import Report

    return found.withheld if isinstance(found, Report) else ()


def _reason(found: Plan) -> str:
    """Why documents were kept, and the cure on a command line; --yes is none where folders could not be read."""
    from storycore.ingestion import Report

    if found.complete or not isinstance(found, Report):
        return "check the folder; --yes removes them."
    return f"{found.withheld_reason}."
