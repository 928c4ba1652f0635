"""``storycore doctor``: find what is wrong with the set-up, and say how to cure it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.cli.findings import Finding

__all__ = ["doctor"]

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}
_SUMMARIES = {
    "ok": "Everything is in order.",
    "warning": "Everything works; see ! for what to look at.",
    "failed": "Something needs attention, see ✗.",
}


@click.command()
@common_options
def doctor(common: Common) -> int:
    """Find what is wrong with the set-up, and say how to cure it; changes nothing. Exit status 1 when something is."""
    import storycore
    from storycore.cli.findings import State, worst
    from storycore.cli.output import print_json
    from storycore.cli.probes import diagnose

    profile = common.load()
    found = asyncio.run(diagnose(profile, storycore.open(profile)))
    well = worst(found) is not State.FAILED
    if common.as_json:
        print_json({"ok": well, "profile": profile.name, "findings": found})
    else:
        _show(profile.name, found)
    return 0 if well else 1


def _show(profile: str, found: list[Finding]) -> None:
    from storycore.cli.findings import worst
    from storycore.cli.output import escape, show, table

    made = table("", "check", "found", title=f"profile {profile}")
    for each in found:
        cure = f"\n[bold]{escape(each.cure)}[/]" if each.cure else ""
        made.add_row(_MARKS[each.state], each.check, escape(each.detail) + cure)
    show(made, _SUMMARIES[worst(found)])
