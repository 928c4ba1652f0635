"""``storycore config``: the settings in force."""

from __future__ import annotations

import click

from storycore.cli.options import Common, common_options

__all__ = ["config"]


@click.command()
@common_options
@click.option("--origin", is_flag=True, help="Also say where each value came from.")
def config(common: Common, origin: bool) -> None:
    """Show the settings in force; secrets are hidden."""

    from storycore.cli.output import escape, print_json, show, table
    from storycore.profiles import describe

    profile = common.load()
    lines = describe(profile)
    if common.as_json:
        settings = [line._asdict() for line in lines] if origin else {line.path: line.value for line in lines}
        return print_json({"profile": profile.name, "settings": settings})
    made = table("setting", "value", *(["origin"] if origin else []), title=f"profile {profile.name}")
    for line in lines:
        value = ", ".join(map(str, line.value)) if isinstance(line.value, list) else str(line.value)
        made.add_row(line.path, escape(value), *([line.origin] if origin else []))
    return show(made)
