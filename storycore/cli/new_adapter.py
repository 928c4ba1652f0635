"""``storycore new-adapter``: begin an adapter, with its tests already there."""

from __future__ import annotations

from pathlib import Path

import click

from storycore.cli.options import Common, FilledPath, common_options

__all__ = ["new_adapter"]

_PORTS = ["entities", "cache", "vectors", "blobs", "events", "embedder", "reranker"]


@click.command("new-adapter")
@click.argument("name", metavar="NAME")
@common_options
@click.option(
    "--port",
    "ports",
    type=click.Choice(_PORTS),
    multiple=True,
    required=True,
    help="A port that the adapter serves; may be given several times.",
)
@click.option(
    "--into",
    type=FilledPath(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="The folder in which the project's folder is made.",
)
def new_adapter(common: Common, name: str, ports: tuple[str, ...], into: Path) -> None:
    """Begin an adapter: a project of its own, in which the conformance kit already runs.

    NAME is what profiles call it, for example acme-store. Nothing that is there is overwritten.
    """
    from storycore.cli.output import print_json
    from storycore.cli.scaffold import project_files
    from storycore.ports.lifecycle import PortName

    files = project_files(name, [PortName(port) for port in ports])
    folder = into / f"storycore-{name}"
    written = _write(folder, {folder / path: content for path, content in files.items()})
    if common.as_json:
        return print_json({"adapter": name, "folder": folder, "files": written})
    for path in written:
        click.echo(path)
    click.echo(f"\nBegin with:\n\n  cd {folder}\n  pip install -e '.[testing]'\n  pytest", err=True)
    return None


def _write(folder: Path, files: dict[Path, str]) -> list[str]:
    from storycore.errors import AccessDenied, AlreadyExists

    try:
        folder.mkdir(parents=True)
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    except FileExistsError as exc:
        raise AlreadyExists(f"There is a {folder} already; choose another name, or another place with --into.") from exc
    except OSError as exc:
        raise AccessDenied(f"{folder} cannot be written: {exc.strerror}; choose another place with --into.") from exc
    return [str(path) for path in files]
