"""``storycore plugins``: what is installed, and why something does not work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.plugins import Found

__all__ = ["plugins"]


@click.command()
@common_options
def plugins(common: Common) -> None:
    """Show the installed adapters, and why one does not work."""

    from storycore.cli.output import escape, print_json, show, table
    from storycore.plugins import Plugins

    found = Plugins().found()
    if common.as_json:
        return print_json({"plugins": [_as_dict(each) for each in found]})
    made = table("plugin", "version", "ports", "about")
    for each in found:
        ports = ", ".join(each.adapter.ports) if each.adapter else ""
        made.add_row(each.name, each.version, ports, _about(each))
    return show(
        made, *(f"[red]{each.name} ({each.distribution}):[/] {escape(each.problem)}" for each in found if each.problem)
    )


def _about(found: Found) -> str:
    from storycore.cli.output import escape

    if found.problem:
        return "[red]does not work, see below[/]"
    return escape(found.adapter.summary) if found.adapter else "no adapter; a profile names it in plugins"


def _as_dict(found: Found) -> dict[str, object]:
    adapter = found.adapter
    return {
        "name": found.name,
        "distribution": found.distribution,
        "version": found.version,
        "module": found.module,
        "ports": list(adapter.ports) if adapter else [],
        "summary": adapter.summary if adapter else "",
        "problem": found.problem,
    }
