"""Imports the running Python's standard library and prints its docstrings, one JSON row a line.

A program rather than a module to import: some 300 imports leave marks on a process (signal
handlers, locale, monkey patches), so `standard_library` runs this file in a child without
site-packages and reads the rows `[module, name, signature, doc]` from its standard output.

A module's own row has the name `""`. What several modules re-export is printed once, under the name
that its users know: `asyncio.sleep`, not `asyncio.tasks.sleep`; `os.path.join`, not `posixpath`'s.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, TypeAlias

Row: TypeAlias = tuple[str, str, str, str]
Member: TypeAlias = tuple[str, str, Any]  # the module that offers it, its name there, the object

# They open a browser or a window, print, write files, or hold tests, tools and tables.
UNWANTED = {
    "antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "test", "tests", "this", "tkinter", "turtle", "turtledemo",
}  # fmt: skip
# Public under another name: os, os.path, re, xml.parsers.expat.
IMPLEMENTATIONS = {
    "genericpath", "nt", "ntpath", "nturl2path", "posix", "posixpath", "pyexpat",
    "sre_compile", "sre_constants", "sre_parse",
}  # fmt: skip

GENERATED_DOC = re.compile(r"\w+\([^\n]*\)")  # of a dataclass or a named tuple: its own signature
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def walk() -> Iterator[Row]:
    modules = dict(import_all(sorted(sys.stdlib_module_names)))
    for name, module in modules.items():
        yield from row(name, "", module)
    members = at_home(modules.items())
    printed = {identity(member) for _, _, member in members}
    for module_name, name, member in members:
        yield from row(module_name, name, member)
        for method_name, method in methods(member) if inspect.isclass(member) else ():
            if identity(method) not in printed:
                printed.add(identity(method))
                yield from row(module_name, f"{name}.{method_name}", method)


def import_all(names: Iterable[str]) -> Iterator[tuple[str, ModuleType]]:
    for name in names:
        leaf = name.rpartition(".")[2]
        if leaf.startswith("_") or leaf in UNWANTED | IMPLEMENTATIONS:
            continue
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001, S112 - not for this platform
            continue
        yield name, module
        inner = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ()))]
        if name == "os":
            inner = ["path"]  # a module inside a module that is no package
        yield from import_all(f"{name}.{leaf}" for leaf in sorted(inner))


def at_home(modules: Iterable[tuple[str, ModuleType]]) -> list[Member]:
    """Each public function and class once, under the best of the names that offer it."""
    best: dict[int, tuple[tuple[bool, bool, int, str, str], Any]] = {}
    for module_name, module in modules:
        for name, member in public_members(module_name, module):
            origin = origin_of(member)
            related = origin.lstrip("_") == module_name or origin.startswith(f"{module_name}.")
            alias = name != getattr(member, "__name__", name)
            rank = (not related, alias, module_name.count("."), module_name, name)
            if identity(member) not in best or rank < best[identity(member)][0]:
                best[identity(member)] = rank, member
    return sorted(
        ((rank[3], rank[4], member) for rank, member in best.values()), key=lambda found: found[:2]
    )


def public_members(module_name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    declared = getattr(module, "__all__", None)
    for name in vars(module) if declared is None else declared:
        member = getattr(module, name, None)
        if name.startswith("_") or not (inspect.isclass(member) or inspect.isroutine(member)):
            continue
        # Without __all__ an imported name is no part of the module, unless it is its C half.
        if declared is not None or origin_of(member) in {module_name, f"_{module_name}"}:
            yield name, member


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    """Those that the class defines itself, in its own order."""
    for name, value in vars(owner).items():
        method = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isroutine(method):
            yield name, method


def row(module: str, name: str, member: Any) -> Iterator[Row]:
    # A class or routine without words of its own would answer with those of its type.
    doc = vars(member).get("__doc__") if inspect.isclass(member) else member.__doc__
    if isinstance(doc, str) and len(doc.split()) >= 3 and not GENERATED_DOC.fullmatch(doc):
        yield module, name, signature(member), inspect.cleandoc(doc)


def signature(member: Any) -> str:
    try:
        return ADDRESS.sub("", str(inspect.signature(member)))
    except Exception:  # noqa: BLE001 - many C functions have none; annotations may not resolve
        return ""


def identity(member: Any) -> int:
    """Of the function behind it: `random.randint` is a bound method, `staticmethod` a wrapper."""
    return id(getattr(member, "__func__", member))


def origin_of(member: Any) -> str:
    return str(getattr(member, "__module__", None))


def main() -> None:
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii") as rows:
        # What an imported module prints must not come between the rows.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for found in walk():
            rows.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
