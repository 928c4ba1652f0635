"""Commands that plugins bring; looked at only when a name is not one of storycore's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from storycore.cli.program import COMMANDS
from storycore.errors import PluginError
from storycore.plugins import Plugins
from storycore.suggestions import did_you_mean

__all__ = ["plugin_command"]


def plugin_command(name: str) -> click.Command:
    """The command of that name from an installed plugin.

    Raises:
        click.UsageError: no plugin has it; the nearest known name is suggested.
        PluginError: what a plugin names cannot be imported or is no command.
    """
    found = _commands(Plugins())
    if name not in found:
        raise click.UsageError(f"There is no command {name!r}. {did_you_mean(name, [*COMMANDS, *found])}")
    module, _, attribute = found[name].partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except Exception as exc:  # whatever a plugin raises while it is imported
        raise PluginError(f"The command {name!r} cannot be loaded: {type(exc).__name__}: {exc}.") from exc
    if not isinstance(command, click.Command):
        raise PluginError(f"The command {name!r} is no click command but {type(command).__name__}.")
    return command


def _commands(plugins: Plugins) -> Mapping[str, str]:
    """Command to where it is, of every plugin that can be loaded; the first of equal names counts."""
    plugins.found()
    found: dict[str, str] = {}
    for given in plugins.hook.storycore_commands():
        for name, place in given.items():
            found.setdefault(name, place)
    return found
