"""The files of a project with a new adapter: packaging, plugin, settings, skeletons, and the kit over them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from storycore import __version__
from storycore.cli.kit_run import SUITES
from storycore.cli.skeletons import CONTRACTS, imports, listed, skeleton
from storycore.errors import InvalidArgument
from storycore.ports.lifecycle import PortName

__all__ = ["project_files"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_PACKAGING = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "0.1.0"
description = "The adapter {adapter} for storycore."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["storycore>={least},<{below}"]

[project.optional-dependencies]
testing = ["storycore[testing]"]

[project.entry-points."storycore.adapters"]
{adapter} = "{package}"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]

[tool.pytest.ini_options]
addopts = ["--strict-markers", "--strict-config"]
filterwarnings = ["error"]
asyncio_default_fixture_loop_scope = "function"
"""

_README = """# {distribution}

The adapter `{adapter}` for storycore. It serves: {ports}.

```console
$ pip install -e '.[testing]'
$ pytest
{proofs}
```

Every operation raises `NotImplementedError` until it is written; each test of the kit that passes is a promise kept.
What a method promises stands in the docstrings of its port, `storycore.ports`.

## Use it

```toml
[profile.mine]
extends = "local"
{uses}
```

## Settings

None yet: see `{package}/config.py`.
"""

_PLUGIN = '''"""The plugin: says what there is. It must stay light, so what opens a port is named, not imported."""

from __future__ import annotations

{imports}

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """What this distribution brings."""
    return [
        Adapter(
            name="{adapter}",
            ports={{
{openers}
            }},
            config={{
{settings}
            }},
            url_path="",
            distribution="{distribution}",
            summary="One sentence for `storycore plugins`.",
        )
    ]
'''

_SETTINGS = '''"""The settings, one model for each port."""

from __future__ import annotations

{imports}

{names}
'''

_MODEL = '''

class {config}(BaseModel):
    """Add a field for each setting, and what it means here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
'''

_VECTOR_MODEL = '''

class {config}(VectorConfig):
    """Dimension, metric and model are there; add what else there is to set, and what it means here."""
'''

_TEST = '''"""Every promise of the port {port}."""

from __future__ import annotations

from {module} import {suite}


class Test{name}({suite}):
    """All of the kit's tests, on this adapter."""

    adapter = "{adapter}"
'''


def project_files(adapter: str, ports: Sequence[PortName]) -> dict[PurePosixPath, str]:
    """Path to content, within the project's folder.

    Args:
        adapter: the name in profiles; the distribution is ``storycore-<name>``.
        ports: at least one, each once.

    Raises:
        InvalidArgument: the name is none that an adapter can have, or a port is repeated.
    """
    if not _NAME.fullmatch(adapter):
        raise InvalidArgument(
            f"{adapter!r} is no name for an adapter; take lower-case letters, digits and '-', for example 'acme-store'."
        )
    if len(set(ports)) < len(ports):
        raise InvalidArgument("A port is named twice.")
    package = f"storycore_{adapter.replace('-', '_')}"
    known = {
        "adapter": adapter,
        "distribution": f"storycore-{adapter}",
        "package": package,
        "least": __version__,
        "below": _next_minor(),
    }
    names = {port: _class_name(adapter, port) for port in ports}
    folder = PurePosixPath(package)
    return {
        PurePosixPath("pyproject.toml"): _PACKAGING.format(**known),
        PurePosixPath("README.md"): _readme(known, ports),
        folder / "__init__.py": _plugin(known, names),
        folder / "config.py": _settings(package, names),
        folder / "py.typed": "",
        **{folder / f"{port}.py": _adapter(known, port, name) for port, name in names.items()},
        **{PurePosixPath(f"tests/test_{port}.py"): _test(adapter, port, name) for port, name in names.items()},
    }


def _next_minor() -> str:
    major, minor, *_ = __version__.split(".")
    return f"{major}.{int(minor) + 1}"


def _class_name(adapter: str, port: PortName) -> str:
    return "".join(part.capitalize() for part in adapter.split("-")) + CONTRACTS[port][1]


def _readme(known: Mapping[str, str], ports: Sequence[PortName]) -> str:
    adapter = known["adapter"]
    proofs = "\n".join(f"$ storycore conformance {port} --adapter {adapter}" for port in ports)
    uses = "\n".join(f'{port} = "{adapter}://"' for port in ports)
    return _README.format(**known, ports=", ".join(f"`{port}`" for port in ports), proofs=proofs, uses=uses)


def _plugin(known: Mapping[str, str], names: Mapping[PortName, str]) -> str:
    package = known["package"]
    openers = (f'                PortName.{port.name}: "{package}.{port}:open_{port}",' for port in names)
    settings = (f"                PortName.{port.name}: {name}Config," for port, name in names.items())
    needed = {
        "storycore.hooks": ["hookimpl"],
        "storycore.plugins": ["Adapter"],
        "storycore.ports.lifecycle": ["PortName"],
        f"{package}.config": [f"{name}Config" for name in names.values()],
    }
    lines = {"openers": "\n".join(openers), "settings": "\n".join(settings)}
    return _PLUGIN.format(**known, imports=imports(needed, package), **lines)


def _settings(package: str, names: Mapping[PortName, str]) -> str:
    needed = {"pydantic": ["BaseModel", "ConfigDict"]} if set(names) - {PortName.VECTORS} else {}
    if PortName.VECTORS in names:
        needed["storycore.ports.vectors"] = ["VectorConfig"]
    configs = sorted(f'"{name}Config"' for name in names.values())
    models = [
        (_VECTOR_MODEL if port is PortName.VECTORS else _MODEL).format(config=f"{name}Config")
        for port, name in names.items()
    ]
    head = _SETTINGS.format(imports=imports(needed, package), names=listed("__all__ = [", configs, "]", "[]"))
    return "".join([head, *models])


def _adapter(known: Mapping[str, str], port: PortName, name: str) -> str:
    given = {each: known[each] for each in ("adapter", "distribution", "package")}
    return skeleton(port, **given, name=name, config=f"{name}Config")


def _test(adapter: str, port: PortName, name: str) -> str:
    module, suite = SUITES[port]
    return _TEST.format(adapter=adapter, port=port, name=name, module=module, suite=suite)
