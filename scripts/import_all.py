"""Import every module of a package, so that an import which its distribution does not declare is found.

python scripts/import_all.py PACKAGE [--but MODULE]...
"""

from __future__ import annotations

import importlib
import pkgutil
import sys


def modules(package: str, spared: tuple[str, ...]) -> list[str]:
    """The package and all below it, but for programs (``__main__``), the spared modules, and what is below those."""
    path = importlib.import_module(package).__path__
    found = [package, *(info.name for info in pkgutil.walk_packages(path, f"{package}."))]
    unwanted = [*spared, *(name for name in found if name.endswith(".__main__"))]
    return [name for name in found if not any(name == one or name.startswith(f"{one}.") for one in unwanted)]


def main(package: str, *options: str) -> None:
    """Import them all; the first that fails ends it with its traceback."""
    names = modules(package, tuple(option for option in options if option != "--but"))
    for name in names:
        importlib.import_module(name)
    print(f"{package}: {len(names)} modules import")


if __name__ == "__main__":
    main(*sys.argv[1:])
