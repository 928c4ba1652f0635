"""Skeletons: the class of an adapter that has yet to be written, made from the contract of its port."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import TypeAlias

from storycore.ports.lifecycle import PortName

__all__ = ["CONTRACTS", "imports", "listed", "skeleton"]

CONTRACTS: Mapping[PortName, tuple[str, str]] = {
    PortName.ENTITIES: ("storycore.ports.entities", "EntityStore"),
    PortName.CACHE: ("storycore.ports.cache", "Cache"),
    PortName.VECTORS: ("storycore.ports.vectors", "VectorIndex"),
    PortName.BLOBS: ("storycore.ports.blobs", "BlobStore"),
    PortName.EVENTS: ("storycore.ports.events", "EventSink"),
    PortName.EMBEDDER: ("storycore.ports.embeddings", "Embedder"),
    PortName.RERANKER: ("storycore.ports.reranking", "Reranker"),
}
"""Port to its contract."""

_OPTIONAL: Mapping[tuple[PortName, str], str] = {
    (PortName.ENTITIES, "changes"): "entities.changes",
    (PortName.ENTITIES, "changes_end"): "entities.changes",
    (PortName.ENTITIES, "explain"): "entities.explain",
    (PortName.CACHE, "listen"): "cache.push",
    (PortName.VECTORS, "search_text"): "vectors.text",
    (PortName.VECTORS, "explain"): "vectors.explain",
    (PortName.BLOBS, "revisions"): "blobs.versions",
    (PortName.BLOBS, "lock"): "blobs.lock",
    (PortName.BLOBS, "presign"): "blobs.presign",
}
"""Operations that an adapter may do without, and the feature that claims them."""

_WIDTH = 120
_ALWAYS = {
    "storycore.ports.capabilities": {"Capabilities"},
    "storycore.ports.environment": {"Environment"},
    "storycore.ports.lifecycle": {"AdapterInfo", "Health", "Lifecycle"},
    "importlib.metadata": {"version"},
}

_Method: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_MODULE = '''"""The {port} of {adapter}."""

from __future__ import annotations

{imports}

__all__ = ["{name}", "open_{port}"]


class {name}(Lifecycle):
    """``{contract}`` says what each method promises, and the kit tests it.

    Connect in ``open``, create in ``ensure``, release in ``close``: derived from ``Lifecycle`` they do nothing yet.
    """

    def __init__(self, config: {config}, env: Environment) -> None:
        self._config = config
        self._env = env

    @property
    def info(self) -> AdapterInfo:
        """Who is behind the port."""
        return AdapterInfo("{adapter}", version("{distribution}"))

    @property
    def capabilities(self) -> Capabilities:
        """What this adapter can do beyond what every one does: nothing yet."""
        return Capabilities()

    async def health(self, *, deep: bool = False) -> Health:
        """Whether it serves."""
        return Health(ok=self._opened, detail="" if self._opened else "The {adapter} is not open.")

{methods}

def open_{port}(config: {config}, env: Environment) -> {protocol}:
    """Make the adapter; it is not open yet."""
    return {name}(config, env)
'''


def skeleton(port: PortName, *, adapter: str, distribution: str, package: str, name: str, config: str) -> str:
    """The module of an adapter of a port, in which every operation has yet to be written.

    Args:
        adapter: its name in profiles.
        distribution: and on the package index.
        package: and in imports.
        name: of the class.
        config: the class of its settings, in the module ``config``.
    """
    place, protocol = CONTRACTS[port]
    contract = _Contract(place, protocol)
    needed = {module: set(names) for module, names in _ALWAYS.items()}
    if any((port, method.name) in _OPTIONAL for method in contract.methods):
        needed["storycore.errors"] = {"Unsupported"}
    for module, used in ((f"{package}.config", config), (place, protocol), *contract.used()):
        needed.setdefault(module, set()).add(used)
    return _MODULE.format(
        port=port,
        adapter=adapter,
        distribution=distribution,
        name=name,
        config=config,
        protocol=protocol,
        contract=f"{place}.{protocol}",
        imports=imports(needed, package),
        methods="\n".join(_method(port, adapter, contract, method) for method in contract.methods),
    )


def imports(needed: Mapping[str, Iterable[str]], package: str) -> str:
    """Statements: the standard library's, then others, then the project's own, each sorted."""
    groups: list[list[str]] = [[], [], []]
    for module in sorted(needed):
        is_own = module.partition(".")[0] == package
        group = 2 if is_own else 0 if module.partition(".")[0] in sys.stdlib_module_names else 1
        groups[group].append(listed(f"from {module} import ", sorted(needed[module]), "", "()"))
    return "\n\n".join("\n".join(group) for group in groups if group)


def listed(begin: str, items: Iterable[str], end: str, brackets: str) -> str:
    """A line with a list, or one line for each item where that is too long.

    Args:
        brackets: two, which stand around the items where they take lines of their own.
    """
    items = list(items)
    line = f"{begin}{', '.join(items)}{end}"
    if len(line) <= _WIDTH:
        return line
    begin = begin.removesuffix(brackets[0]) + brackets[0]
    return "\n".join([begin, *(f"    {item}," for item in items), brackets[1]])


class _Contract:
    """A port's own methods, as its module writes them.

    Args:
        place: the module.
        name: of the protocol in it.
    """

    def __init__(self, place: str, name: str) -> None:
        module = import_module(place)
        source = inspect.getsource(module)
        self._lines = source.splitlines()
        self._place = place
        self._public = frozenset(module.__all__)
        self._body = ast.parse(source).body
        self.methods = [each for each in self._class(name).body if isinstance(each, _Method)]

    def head(self, method: _Method) -> str:
        """Decorators and definition, as they stand there."""
        first = min([method.lineno, *(each.lineno for each in method.decorator_list)])
        lines = self._lines[first - 1 : method.body[0].lineno - 1]
        return textwrap.dedent("\n".join(line.partition("  # noqa")[0] for line in lines))

    def used(self) -> Iterator[tuple[str, str]]:
        """Each name in the signatures that is no builtin, after the module that it is imported from."""
        homes = {alias.name: node.module for node in self._imports() for alias in node.names if node.module}
        for name in {node.id for method in self.methods for node in _names(method)}:
            if name in self._public:
                yield self._place, name
            elif name in homes:
                yield homes[name], name

    def _imports(self) -> Iterator[ast.ImportFrom]:
        return (node for node in self._body if isinstance(node, ast.ImportFrom))

    def _class(self, name: str) -> ast.ClassDef:
        return next(node for node in self._body if isinstance(node, ast.ClassDef) and node.name == name)


def _names(method: _Method) -> Iterator[ast.Name]:
    for part in (method.args, method.returns):
        if part is not None:
            yield from (node for node in ast.walk(part) if isinstance(node, ast.Name))


def _method(port: PortName, adapter: str, contract: _Contract, method: _Method) -> str:
    told = (ast.get_docstring(method) or "").split("\n\n")[0].replace("\n", " ")
    body = textwrap.wrap(f'"""{told}', _WIDTH - 11)
    body[-1] += '"""'
    feature = _OPTIONAL.get((port, method.name))
    if feature is not None:
        body.append(f'raise Unsupported("The adapter {adapter!r} does not offer this.", feature="{feature}")')
    else:
        body += ["self._require_open()"] if isinstance(method, ast.AsyncFunctionDef) else []
        body.append(f'raise NotImplementedError("{port}.{method.name}")')
    lines = [contract.head(method), *(f"    {line}" for line in body), ""]
    return textwrap.indent("\n".join(lines), "    ")
