"""Who may import whom, and how long things may be. LAYERS is the only place that says so."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_SOURCES = Path(__file__).resolve().parents[1] / "src"
_PACKAGE = _SOURCES / "token_refresher"

# From the top down; a module imports from layers below its own. A star stands for any ending.
LAYERS = {
    # how the program is started and how the report leaves; __init__ is the door for other services
    "doors": (
        "index",
        "__main__",
        "__init__",
        "cli",
        "cli_*",
        "daemon",
        "daemon_*",
        "doctor",
        "doctor_*",
        "page",
        "page_*",
    ),
    # settings -> live objects; the real clock and owner id enter here
    "assembly": ("wiring", "current"),
    # the story of the algorithm; the library that other services import
    "use cases": ("refresh", "refresh.*", "reader", "async_reader"),
    # one outside thing each
    "edges": (
        "store",
        "lease",
        "connection",
        "idle_connections",
        "redis_errors",
        "redis_login",
        "open_platform",
        "flight",
        "answers",
        "failures",
        "wire",
        "settings",
        "settings_*",
        "configuration_file",
        "events",
        "invoke",
        "logs",
        "invoke_*",
        "credentials",
    ),
    # pure decisions, pure functions
    "rules": (
        "plan",
        "life",
        "outlook",
        "selection",
        "signing",
        "shelf",
        "records",
        "keys",
        "quoting",
        "time_out",
        "redis_meanings",
    ),
    # values, outcomes, one exception tree
    "words": ("report", "reasons", "model", "policy", "errors", "python_version"),
}

# Inside a layer only these import each other (who, whom), and never in a circle.
WITHIN = (
    ("__main__", "cli"),
    ("cli", "cli_*"),
    ("cli*", "doctor*"),
    ("cli*", "daemon*"),
    ("cli*", "page*"),
    ("doctor*", "cli_screen"),
    ("doctor*", "cli_table"),
    ("doctor*", "doctor_*"),
    ("daemon*", "daemon_*"),
    ("daemon*", "page*"),
    ("page*", "page_*"),
    ("page*", "daemon_*"),
    ("cli_*", "cli_*"),
    ("current", "wiring"),
    ("refresh.run", "refresh.application"),
    ("refresh.run", "refresh.renew"),
    ("refresh.run", "refresh.watch"),
    ("refresh.application", "refresh.renew"),
    ("refresh.application", "refresh.watch"),
    ("refresh.renew", "refresh.watch"),
    ("refresh.*", "refresh.limits"),
    ("refresh.*", "refresh.result"),
    ("store", "connection"),
    ("store", "redis_errors"),
    ("connection", "redis_errors"),
    ("connection", "idle_connections"),
    ("store", "idle_connections"),
    ("idle_connections", "redis_errors"),
    ("idle_connections", "redis_login"),
    ("redis_login", "redis_errors"),
    # one check of an address, for settings and for readers that get it from their own
    ("connection", "settings_*"),
    ("store", "lease"),
    ("lease", "connection"),
    ("open_platform", "answers"),
    ("open_platform", "failures"),
    ("open_platform", "wire"),
    ("wire", "flight"),
    ("wire", "failures"),
    ("wire", "answers"),
    ("flight", "failures"),
    ("open_platform", "flight"),
    ("flight", "answers"),
    # for the type of what it is given
    ("connection", "settings"),
    ("settings", "settings_*"),
    ("settings", "configuration_file"),
    ("settings_*", "settings_*"),
    ("configuration_file", "settings_*"),
    ("async_reader", "reader"),
    ("plan", "life"),
    ("outlook", "plan"),
    ("shelf", "records"),
    ("shelf", "keys"),
    ("records", "keys"),
    ("invoke", "invoke_*"),
    ("invoke_*", "invoke_*"),
    ("invoke*", "credentials"),
    ("credentials", "settings_*"),
    ("report", "model"),
    ("report", "errors"),
    ("invoke", "credentials"),
    ("invoke_*", "credentials"),
)

# The others are moved by arguments alone, so they need nothing but the standard library. Readers stand in
# front of Redis by themselves: nothing may come between a request and its code.
_MAY_USE_OTHERS_PACKAGES = ("doors", "edges")
_MAY_USE_THEM_TOO = ("reader", "async_reader")
# It may show the simulator, and where that is not installed (in the function) it must still be importable.
_MAY_SIMULATE = "cli*"

_LONGEST_MODULE = 400
_LONGEST_FUNCTION = 40
_LONGEST_SCRIPT = 40


class Import(NamedTuple):
    """One imported module by its full name, on a line; `lazy` inside a function."""

    module: str
    line: int
    lazy: bool


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def _own() -> list[Path]:
    return [_SOURCES / "index.py", *_modules(_PACKAGE)]


def _each(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=str(path.relative_to(_SOURCES))) for path in paths]


_OWN = _each(_own())
_SIMULATOR = _each(_modules(_SOURCES / "platform_simulator"))
_SCRIPTS = _each(sorted(_PACKAGE.rglob("*.lua")))


def _called(path: Path) -> str:
    """A module's name below its top package: "reader", "refresh.run"; "refresh" for the package itself."""
    inside = path.relative_to(_PACKAGE if path.is_relative_to(_PACKAGE) else _SOURCES).with_suffix("")
    parts = [part for part in inside.parts if part != "__init__" or len(inside.parts) == 1]
    return ".".join(parts)


def _layer(module: str) -> str | None:
    """The layer a module stands in; an exact name counts before a star."""
    found = [
        (("*" in pattern), layer)
        for layer, patterns in LAYERS.items()
        for pattern in patterns
        if fnmatchcase(module, pattern)
    ]
    return min(found)[1] if found else None


def _imports(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lazy = {node for function in functions for node in ast.walk(function)}
    return [
        Import(name, node.lineno, node in lazy)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in _names(node, path.parent)
    ]


def _names(node: ast.Import | ast.ImportFrom, folder: Path) -> Iterator[str]:
    """The full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    here = folder.relative_to(_SOURCES).parts
    base = here[: len(here) - node.level + 1] if node.level else ()
    module = ".".join((*base, *((node.module,) if node.module else ())))
    inside = _SOURCES.joinpath(*module.split("."))
    for alias in node.names:
        # `from package import module` imports the module, `from module import thing` the module, too.
        named = (inside / f"{alias.name}.py").exists()
        yield f"{module}.{alias.name}" if named else module


def _own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """The modules of this package that a module imports, by their short names."""
    for name, line, _ in _imports(path):
        if name.split(".")[0] == "token_refresher":
            yield name.partition(".")[2] or "__init__", line


def _outside(path: Path, package: str) -> list[str]:
    """Imports of a module that are neither of its own package nor of the standard library."""
    near = sys.stdlib_module_names | {package}
    return [
        f"{path.name}:{line}: {name}" for name, line, _ in _imports(path) if name.split(".")[0] not in near
    ]


@pytest.mark.parametrize("path", _OWN)
def test_every_module_stands_in_a_layer(path: Path) -> None:
    assert _layer(_called(path)), (
        f"{path.name} is in no layer: say in LAYERS of {Path(__file__).name} where it belongs"
    )


@pytest.mark.parametrize("path", _OWN)
def test_imports_go_downwards(path: Path) -> None:
    order = list(LAYERS)
    own = _layer(_called(path))
    assert own, f"{path.name} is in no layer"
    wrong = []
    for name, line in _own_imports(path):
        layer = _layer(name)
        allowed = layer == own and any(
            fnmatchcase(_called(path), who) and fnmatchcase(name, whom) for who, whom in WITHIN
        )
        if layer is None or not (allowed or order.index(layer) > order.index(own)):
            wrong.append(f"{path.name}:{line}: {_called(path)} ({own}) must not import {name} ({layer})")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_in_a_circle() -> None:
    imports = {_called(path): {name for name, _ in _own_imports(path)} for path in _own()}
    while free := {module for module, needed in imports.items() if not needed & imports.keys()}:
        imports = {module: needed for module, needed in imports.items() if module not in free}
    assert not imports, f"these import each other in a circle: {', '.join(sorted(imports))}"


@pytest.mark.parametrize("path", _OWN)
def test_only_doors_and_edges_use_packages_of_others(path: Path) -> None:
    if _layer(_called(path)) in _MAY_USE_OTHERS_PACKAGES or _called(path) in _MAY_USE_THEM_TOO:
        return
    found = _outside(path, "token_refresher")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", _OWN)
def test_the_program_knows_nothing_of_the_simulator(path: Path) -> None:
    """Except the command that shows it, which imports it when it is run."""
    found = [
        f"{path.name}:{line}: {name}"
        for name, line, lazy in _imports(path)
        if name.split(".")[0] == "platform_simulator"
        and not (lazy and fnmatchcase(_called(path), _MAY_SIMULATE))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", _SIMULATOR)
def test_the_simulator_knows_nothing_of_the_program(path: Path) -> None:
    """It is written from the platform's documents alone, and needs no package of others."""
    found = _outside(path, "platform_simulator")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", _OWN + _SIMULATOR)
def test_modules_are_short(path: Path) -> None:
    length = len(path.read_text().splitlines())
    assert length <= _LONGEST_MODULE, f"{path.name} has {length} lines, more than {_LONGEST_MODULE}"


@pytest.mark.parametrize("path", _OWN + _SIMULATOR)
def test_functions_are_short(path: Path) -> None:
    long = [
        f"{path.name}:{node.lineno}: {node.name} has {length} lines, more than {_LONGEST_FUNCTION}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or 0) - node.lineno + 1) > _LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("path", _SCRIPTS)
def test_scripts_are_short_and_begin_with_their_contract(path: Path) -> None:
    lines = path.read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith("--")]
    assert len(code) <= _LONGEST_SCRIPT, f"{path.name} has {len(code)} lines of code"
    contract = "\n".join(lines[: lines.index(code[0])])
    for word in ("-- KEYS:", "-- Returns:", "-- Race"):
        assert word in contract, f"{path.name} does not say {word}"
