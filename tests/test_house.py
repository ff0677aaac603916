# SPDX-License-Identifier: Apache-2.0
"""The order of the house: no module imports upward, none in a circle, and no file is too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "monai_iscs"
# From the bottom up; rooms of one floor do not import each other. "" are the modules beside the rooms.
FLOORS = (
    ("",),
    ("operators",),
    ("solvers",),
    ("scans",),
    ("classical",),
    ("priors",),
    ("sampling",),
    ("transforms",),
    ("metrics", "schedulers"),
    ("inferers",),
    ("engines", "reports"),
    ("datasets",),
    ("workflows",),
    ("studies",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PLAIN = ("", "operators", "solvers", "classical", "sampling")  # they need PyTorch but not MONAI
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
for entrance in ("monai_iscs", "monai_iscs.__main__"):  # the doors of the house, which lead everywhere
    del MODULES[entrance]


def room(module: str) -> str:
    """The folder of a module, or "" if it is beside the folders."""
    _, *inner = module.split(".")
    return inner[0] if inner and (PACKAGE / inner[0]).is_dir() else ""


def imported(module: str) -> Iterator[str]:
    """Full names of a module's imports, at its top or inside its functions, except those for type checkers only."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(node.body)
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


IMPORTS = {module: sorted(set(imported(module))) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_upward(module):
    mine = room(module)
    for name in IMPORTS[module]:
        if name.startswith("monai_iscs.") and room(name) != mine:
            assert FLOOR[room(name)] < FLOOR[mine], f"{module} imports {name}"


def test_no_circles():
    """A package imports what its `__init__` does; a module of it that only imports a sibling is not a circle."""
    graph = {module: {name for name in names if name in MODULES} - {module} for module, names in IMPORTS.items()}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in PLAIN])
def test_what_is_plain_pytorch_does_not_import_monai(module):
    assert not [name for name in IMPORTS[module] if name.split(".")[0] == "monai"]


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_300_lines(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300


def test_every_room_has_a_floor():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(FLOOR) - {""}


def test_the_command_line_is_thin():
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in (PACKAGE / "cli").glob("*.py"))
    assert lines <= 1480
