"""``storycore infrastructure``: what the profile needs in a cloud, and what has drifted from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storycore.infrastructure import Declared
    from storycore.ports.lifecycle import Provision

__all__ = ["infrastructure"]

_NOTHING = "The profile {} needs nothing in a cloud: `storycore init` creates what its adapters keep on this machine."


@click.command()
@common_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["cloudformation", "terraform", "json"]),
    help="Print a document: a CloudFormation template, a Terraform configuration (….tf.json), or the plain requests.",
)
@click.option("--existing", is_flag=True, help="For resources that exist already and are to be taken over by the tool.")
@click.option("--drift", is_flag=True, help="Ask the services what differs; exit status 1 when something does.")
def infrastructure(common: Common, form: str | None, existing: bool, drift: bool) -> int:
    """Show what the profile needs in a cloud: tables, indexes and policies. Creates nothing, and connects to nothing.

    Only --drift connects, to compare; `storycore init` does what it finds to do.
    """
    from storycore.infrastructure import declared, document
    from storycore.plugins import Plugins

    if drift:
        if form or existing:
            raise click.UsageError("--drift compares what is there; leave out --format and --existing.")
        return _show_drift(common)
    profile = common.load()
    plugins = Plugins()
    for name in profile.plugins:
        plugins.load(name)
    needed = declared(profile, plugins)
    for message in needed.missing.values():
        click.echo(f"left out: {message}", err=True)
    if form is None and not common.as_json:
        return _show(needed)
    if needed.is_empty:
        click.echo(_NOTHING.format(profile.name), err=True)
    _print(document(needed, form or "json", existing=existing), wanted=common.as_json or not needed.is_empty)
    return 0


def _print(made: dict[str, object], *, wanted: bool) -> None:
    """One document on stdout; none at all where a template would be empty, which no tool takes."""
    from storycore.cli.output import print_json

    if wanted:
        print_json(made)


def _show(needed: Declared) -> int:
    from storycore.cli.output import escape, show, table

    if needed.is_empty:
        show(_NOTHING.format(escape(needed.profile)))
        return 0
    made = table("port", "resource", "name", "arn", title=f"profile {escape(needed.profile)}")
    for port, found in needed.ports.items():
        for resource in found.resources:
            made.add_row(port, resource.name, escape(", ".join(resource.identity.values())), escape(resource.arn))
    show(made, "--format cloudformation or terraform prints it for those tools; `storycore init` creates it at once.")
    return 0


def _show_drift(common: Common) -> int:
    from storycore.cli.output import escape, print_json, show

    found = asyncio.run(_drift(common))
    if common.as_json:
        print_json({"drift": bool(found), "ports": found})
        return 1 if found else 0
    for port, each in found.items():
        show(*(f"[bold]{port}[/]  to do: {escape(action)}" for action in each.actions))
        show(*(f"[bold]{port}[/]  differs: {escape(difference)}" for difference in each.differences))
    if not found:
        show("Everything is as it is declared.")
    return 1 if found else 0


async def _drift(common: Common) -> Mapping[str, Provision]:
    async with common.open() as store:
        return await store.drift()
