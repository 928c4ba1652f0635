"""``storycore dev``: a service on this machine for development, until Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.plugins import Adapter

__all__ = ["dev"]

_NAME = "storycore"
"""What the shown profile calls the table, bucket or index."""


@click.command()
@click.argument("adapter", metavar="ADAPTER")
@common_options
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where it listens; a free port if left out.")
def dev(common: Common, adapter: str, port: int) -> None:
    """Run the service of an adapter on this machine until Ctrl-C.

    Prints the profile that uses it. What is stored is gone when the service ends.
    """
    from storycore.cli.output import print_json
    from storycore.errors import InvalidArgument
    from storycore.plugins import Plugins

    spec = Plugins().adapter(adapter)
    if spec.server is None:
        raise InvalidArgument(f"The adapter {adapter!r} brings no service to run; it needs none, or a real one.")
    with spec.serving(port=port) as place:
        settings = {**_required(spec), **place}
        try:
            if common.as_json:
                print_json({"adapter": adapter, "settings": settings})
            else:
                _show(spec, settings)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)


def _required(spec: Adapter) -> dict[str, object]:
    """The name of the place within the service, where the adapter wants one."""
    fields = {name: field for port in spec.ports for name, field in spec.config_for(port).model_fields.items()}
    wanted = fields.get(spec.url_path)
    return {spec.url_path: _NAME} if wanted is not None and wanted.is_required() else {}


def _show(spec: Adapter, settings: Mapping[str, object]) -> None:
    listed = ", ".join(f"{name} = {json.dumps(value)}" for name, value in {"adapter": spec.name, **settings}.items())
    click.echo(f'In storycore.toml:\n\n[profile.{spec.name}]\nextends = "local"')
    for port in spec.ports:
        click.echo(f"{port} = {{ {listed} }}")
    click.echo(f"\nThen: storycore init --profile {spec.name}")
    click.echo(f"The service of {spec.name} runs until Ctrl-C, and forgets everything then.")
