"""Imports follow the arrows of the design, at whatever depth of a function they stand.

A package may import the modules at the root of chainrule (errors, places) and the packages that
`MAY_IMPORT` gives it. The top-level `chainrule` itself is an import of everything, so it is left to
the packages at the top.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "chainrule"

CORE = {"tensor", "ops", "calculus"}
MIDDLE = {"nn", "optim", "probability", "data", "interop", "compile", "posteriors"}
TOP = {"train", "lens"}
MAY_IMPORT: dict[str, set[str]] = {
    "tensor": set(),
    "ops": {"tensor"},
    "linalg": {"ops"},
    "random": {"ops"},
    "calculus": {"tensor", "ops"},
    "compile": CORE,
    "probability": CORE,
    "optim": CORE | {"nn"},
    "data": CORE,
    "nn": CORE | {"probability"},
    "posteriors": CORE | {"nn", "optim", "probability", "data", "compile"},
    "interop": {"tensor", "ops", "nn"},
    "train": CORE | MIDDLE | {"lens"},
    "lens": CORE | MIDDLE,
    "cli": CORE | MIDDLE | TOP | {"chainrule"},
    "studio": CORE | MIDDLE | TOP | {"chainrule"},
    "__main__": {"cli"},
}


def part(path: Path) -> str:
    """The package under chainrule that a file belongs to, or the name of a module at its root."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


PARTS = {part(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
ROOT_MODULES = PARTS - set(MAY_IMPORT) - {path.name for path in PACKAGE.iterdir() if path.is_dir()}


def imports(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """Each import of a part of chainrule, with its line; `chainrule` where it is of the whole."""
    inside = ("chainrule", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(source)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            modules = [f"{module}.{alias.name}" for alias in node.names]
        for module in modules:
            names = module.split(".")
            if names[0] == "chainrule":
                yield node.lineno, names[1] if names[1:2] and names[1] in PARTS else "chainrule"


def violations(source: str, path: Path) -> list[str]:
    own = part(path)
    if own == "__init__":  # the lazy names of the whole library
        return []
    allowed = MAY_IMPORT.get(own, set()) | ROOT_MODULES | {own}
    return [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {own} may not import {target}"
        for line, target in imports(source, path)
        if target not in allowed
    ]


def test_arrows_point_one_way() -> None:
    wrong = [line for path in PACKAGE.rglob("*.py") for line in violations(path.read_text(), path)]
    assert not wrong, "\n".join(wrong)


def test_every_package_has_its_place() -> None:
    assert set(MAY_IMPORT) >= PARTS - ROOT_MODULES


@pytest.mark.parametrize(
    "source",
    [
        "import chainrule",
        "import chainrule.ops.math as m",
        "from chainrule import ops",
        "from chainrule.ops import exp",
        "from .. import ops",
        "from ..ops.math import exp",
        "def f():\n    from ..ops import exp",
        "if TYPE_CHECKING:\n    from chainrule.ops import exp",
    ],
)
def test_an_import_against_the_arrows_would_be_seen(source: str) -> None:
    assert violations(source, PACKAGE / "tensor" / "planted.py")


@pytest.mark.parametrize(
    "source", ["import numpy", "from ..errors import ShapeError", "from . import dtypes"]
)
def test_an_import_along_the_arrows_is_free(source: str) -> None:
    assert not violations(source, PACKAGE / "tensor" / "planted.py")
