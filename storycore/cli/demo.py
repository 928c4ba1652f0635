"""``storycore demo``: the whole thing at work."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, FilledPath, common_options

if TYPE_CHECKING:
    from storycore.cli.demonstration import Demonstration

__all__ = ["demo"]


@click.command()
@common_options
@click.option("--docs", type=FilledPath(path_type=Path), help="Your own documents instead of those on Richmond.")
def demo(common: Common, docs: Path | None) -> int:
    """Show the whole thing at work on this machine: no service, no network, under a minute.

    Creates a data layer in --dir (./storycore-data), makes documents searchable, asks five questions, keeps users,
    sessions, templates and stories; makes a backup, proves it by a restore, and undoes a mistake with it. A second run
    only does what has changed.
    """
    from storycore.cli.demonstration import tell
    from storycore.cli.failures import PARTIAL
    from storycore.cli.output import print_json

    outcome = asyncio.run(_demo(common, docs))
    if common.as_json:
        print_json(outcome)
    else:
        tell(outcome)
    return PARTIAL if outcome.ingested.problems else 0


async def _demo(common: Common, docs: Path | None) -> Demonstration:
    from storycore.cli.demonstration import demonstrate
    from storycore.cli.progress import ingestion_progress

    async with common.open() as store:
        with ingestion_progress() as progress:
            return await demonstrate(store, docs, options=_options(common), progress=progress)


def _options(common: Common) -> str:
    """What was said on the command line, to be said again."""
    given = [("--profile", common.profile), ("--dir", common.dir)]
    return "".join(f" {name} {shlex.quote(value)}" for name, value in given if value is not None)
