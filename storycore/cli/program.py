"""The program: a table of commands that are imported only when they are called, and one exit for every outcome."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click

__all__ = ["COMMANDS", "main", "program", "run"]

_OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python's own number is 700, so that it would go through all that is being imported again and again."""

COMMANDS = {
    "demo": ("storycore.cli.demo:demo", "Show the whole thing at work on this machine, in under a minute."),
    "init": ("storycore.cli.init:init", "Create what the profile needs: folders, tables, indexes."),
    "ingest": ("storycore.cli.ingest:ingest", "Read documents, cut and embed them, and make them searchable."),
    "search": ("storycore.cli.search:search", "Find passages by meaning and by words."),
    "get": ("storycore.cli.get:get", "Show one user, session, story, template or content."),
    "list": ("storycore.cli.listing:list_", "List users, sessions, stories, templates or contents."),
    "explain": ("storycore.cli.explain:explain", "Tell what a listing asks of the store, and what it costs."),
    "changes": ("storycore.cli.changes:changes", "Show what happened to entities, and follow what happens."),
    "upgrade": ("storycore.cli.upgrade:upgrade", "Bring stored records to the form that is declared now."),
    "health": ("storycore.cli.health:health", "Ask every port whether it can serve."),
    "stats": ("storycore.cli.stats:stats", "Show what is stored and how the cache does."),
    "cache": ("storycore.cli.cache:cache", "Look into the shared cache, empty it, or fill it."),
    "audit": ("storycore.cli.audit:audit", "See who read and wrote what, and whether that record is whole."),
    "backup": ("storycore.cli.backup:backup", "Make backups, prove that they can be restored, let old ones go."),
    "restore": ("storycore.cli.restore:restore", "Bring a state back, whole or in part, here or elsewhere."),
    "jobs": ("storycore.cli.jobs:jobs", "Run by the clock what is to be done, and see how it went."),
    "doctor": ("storycore.cli.doctor:doctor", "Find what is wrong with the set-up, and say how to cure it."),
    "plugins": ("storycore.cli.plugins:plugins", "Show the installed adapters, and why one does not work."),
    "config": ("storycore.cli.config:config", "Show the settings in force; secrets are hidden."),
    "infrastructure": (
        "storycore.cli.infrastructure:infrastructure",
        "Show what the profile needs in a cloud, for CloudFormation or Terraform, and what has drifted.",
    ),
    "conformance": ("storycore.cli.conformance:conformance", "Prove that an adapter keeps the contract of its port."),
    "new-adapter": ("storycore.cli.new_adapter:new_adapter", "Begin an adapter, with the tests that it has to pass."),
    "dev": ("storycore.cli.dev:dev", "Run the service of an adapter on this machine, for development."),
}
"""Command to where it is, and what it is for. The help text stands here so that ``--help`` imports no command."""


class _LazyGroup(click.Group):
    """A group that knows its commands by name, and asks the plugins only for a name that it does not know."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            found: click.Command = getattr(import_module(module), attribute)
            return found
        from storycore.cli.extensions import plugin_command

        return plugin_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 done in part. Plugins may add commands.",
)
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def program(ctx: click.Context, version: bool) -> None:
    """One data layer for Python applications: entities, cache, vectors, blobs and events."""
    if version:
        import storycore

        click.echo(f"storycore {storycore.__version__}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; whatever happens has been told by then."""
    try:
        result = program.main(list(arguments), prog_name="storycore", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as exc:
        from storycore.cli.failures import told

        return told(exc, as_json="--json" in arguments)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The entry point of the command ``storycore``."""
    _fill_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a character shows "?" instead of a traceback
    signal.signal(signal.SIGTERM, _interrupted)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    status = run(sys.argv[1:])
    gc.freeze()  # nothing is worth a last search for cycles: the process and its memory end here
    sys.exit(status)


def _interrupted(*_: object) -> None:
    """Being told to end is Ctrl-C, so that what is temporary goes; shells have that ignored in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _fill_streams() -> None:
    """Where the caller has closed a stream, write to nowhere, so that no file of ours takes the stream's number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115
