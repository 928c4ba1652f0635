"""``storycore conformance``: prove that an adapter keeps the contract of its port."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.plugins import Adapter
    from storycore.ports.lifecycle import PortName

__all__ = ["conformance"]

_FAILURES_SHOWN = 20
_MARKS = {"{path}": "; set TMPDIR to choose the disk", "{name}": ""}


@click.command()
@click.argument("port", metavar="PORT")
@common_options
@click.option("--adapter", metavar="NAME", help="An installed adapter; may be left out when --url is given.")
@click.option(
    "--url", help="Where the adapter keeps what is tested; {path} in it is a fresh folder, {name} a fresh name."
)
@click.option("--steps", type=click.IntRange(min=1), help="How many steps the random trace over entities takes.")
def conformance(common: Common, port: str, adapter: str | None, url: str | None, steps: int | None) -> int:
    """Prove that an adapter keeps the contract of its port.

    PORT is entities, cache, vectors, blobs, events, embeddings or reranker. Whatever the URL leads to is written to
    and cleared.
    Without a URL, an adapter of a service is proved on the server that it brings.
    Exit status 0 only if every sentence of the contract held.
    """
    from storycore.cli.kit_run import demand_kit, prove
    from storycore.cli.output import console, print_json
    from storycore.plugins import Plugins
    from storycore.profiles import PortSettings, stated_options

    name = _port(port)
    demand_kit()
    chosen = _adapter(adapter, url)
    spec = Plugins().adapter(chosen)
    options = stated_options(PortSettings(adapter=chosen, url=url or ""), spec, name)
    _demand_places(spec, options)
    with console(stderr=True).status(f"Proving {name} of {chosen} …"), _served(spec, url) as place:
        report = prove(name, chosen, {**place, **options}, steps=steps, emulator="" if url else "own")
    if common.as_json:
        print_json(report)
    else:
        _show(report)
    return 0 if report["held"] else 1


def _port(name: str) -> PortName:
    from storycore.errors import InvalidArgument
    from storycore.ports.lifecycle import PortName
    from storycore.suggestions import did_you_mean

    names = {**{str(port): port for port in PortName}, "embeddings": PortName.EMBEDDER}
    if name not in names:
        raise InvalidArgument(f"There is no port {name!r}. {did_you_mean(name, names)}")
    return names[name]


def _demand_places(spec: Adapter, options: Mapping[str, object]) -> None:
    """Refuse one place for all tests where the adapter wants a fresh one for each."""
    from storycore.errors import InvalidArgument

    for name, usual in spec.conformance.items():
        for mark, hint in _MARKS.items():
            if mark in str(usual) and mark not in str(options.get(name, usual)):
                raise InvalidArgument(
                    f"Each test needs a place of its own, so the {name} in the URL must have {mark} in it, "
                    f"for example {spec.name}:///{usual}{hint}."
                )


def _served(spec: Adapter, url: str | None) -> AbstractContextManager[Mapping[str, object]]:
    """The adapter's own server, unless the URL names a place."""
    return nullcontext({}) if url else spec.serving()


def _adapter(adapter: str | None, url: str | None) -> str:
    from storycore.errors import InvalidArgument
    from storycore.profiles.urls import scheme_of

    scheme = scheme_of(url, path="--url") if url else None
    if adapter and scheme and adapter != scheme:
        raise InvalidArgument(f"--adapter {adapter} and the URL's {scheme}:// are two adapters; name one.")
    chosen = adapter or scheme
    if not chosen:
        raise InvalidArgument("Which adapter? Give --adapter NAME (`storycore plugins` lists them) or --url.")
    return chosen


def _show(report: dict[str, Any]) -> None:
    from storycore.cli.output import console, escape

    out = console()
    counts = report["counts"]
    verdict = "[bold green]held[/]" if report["held"] else "[bold red]broken[/]"
    out.print(
        f"{report['adapter']} {report.get('version', '')} as {report['port']}: {verdict}  "
        f"({counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped; kit {report['kit']})"
    )
    if report.get("measured"):
        out.print(f"[dim]tried: {', '.join(f'{number} {what}' for what, number in report['measured'].items())}[/]")
    if report.get("faulty_stores_caught"):
        number = report["faulty_stores_caught"]
        out.print(f"[dim]this suite catches {number} of {number} faulty stores[/]")
    for each in report.get("failed", [])[:_FAILURES_SHOWN]:
        out.print(f"\n[red]✗[/] {escape(each['sentence'])}\n  {each['test']}: {escape(each['detail'])}")
    for each in report["broken"]:
        out.print(f"\n[red]✗[/] {escape(each)}")
    for each in report.get("not_claimed", []):
        out.print(f"[dim]- not claimed: {escape(each['feature'])}: {escape(each['sentence'])}[/]")
    for each in report.get("skipped", []):
        out.print(f"[dim]- skipped: {escape(each['reason'])}: {escape(each['sentence'])}[/]")
