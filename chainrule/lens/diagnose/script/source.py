"""A script's text and syntax tree, and the places in it that changes are about."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chainrule.lens.diagnose.setup import Setup


class Edit(NamedTuple):
    """The characters from `start` to `end` become `text`."""

    start: int
    end: int
    text: str


class Script:
    """A script's text and syntax tree, and what of it is looked for."""

    def __init__(self, source: str, setup: Setup | None) -> None:
        self.source, self.setup = source, setup
        self.tree = ast.parse(source)
        self.lines = source.splitlines(keepends=True)
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def offset(self, line: int, column: int) -> int:
        """A place of the syntax tree (which counts bytes) as a position in the text."""
        before = sum(map(len, self.lines[: line - 1]))
        return before + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: Any) -> tuple[int, int]:
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def replaced(self, node: Any, text: str) -> list[Edit]:
        return [Edit(*self.span(node), text)]

    def text(self, node: Any) -> str:
        start, end = self.span(node)
        return self.source[start:end]

    def calls(self, names: Callable[[str], bool]) -> list[ast.Call]:
        """Calls of functions whose last name is accepted, in the order of the text."""
        found = [
            node for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and names(last_name(node.func))
        ]  # fmt: skip
        return sorted(found, key=lambda node: self.span(node))

    def optimizer(self) -> ast.Call | None:
        """The call that makes the optimiser, if there is exactly one."""
        if self.setup is None:
            kinds = {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam"}
        else:
            kinds = {type(self.setup.optimizer).__name__}
        return only(self.calls(kinds.__contains__))

    def literal(self, node: ast.expr) -> ast.expr | None:
        """The number itself, or the one number that a name is ever given."""
        if isinstance(node, ast.Constant):
            return node
        if not isinstance(node, ast.Name):
            return None
        given = [value for target, value in self.assignments() if target == node.id]
        one = only(given)
        return one if isinstance(one, ast.Constant) else None

    def assignments(self) -> Iterator[tuple[str, ast.expr]]:
        """(name, value) of every assignment to a plain name, and of arguments' defaults."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                if isinstance(node.target, ast.Name):
                    yield node.target.id, node.value
            elif isinstance(node, ast.FunctionDef):
                named = node.args.args[len(node.args.args) - len(node.args.defaults) :]
                for argument, default in zip(named, node.args.defaults, strict=True):
                    yield argument.arg, default

    def statement(self, node: ast.AST) -> ast.stmt:
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def line_before(self, node: ast.AST, text: str) -> list[Edit]:
        """A new line in front of the statement that a node is part of."""
        statement = self.statement(node)
        start = self.offset(statement.lineno, 0)
        indent = self.lines[statement.lineno - 1][: statement.col_offset]
        return [Edit(start, start, f"{indent}{text}\n")]

    def module(self, path: str) -> ast.Call | None:
        """The call that makes the module at a path: an element of a Sequential that is written
        out, or what is assigned to `self.name`."""
        if self.setup is None:
            return None
        kinds = {p: kind for p, kind, _ in self.setup.framework.modules(self.setup.model)}
        outer, _, name = path.rpartition(".")
        if kinds.get(outer) == "Sequential" and name.isdigit():
            rows = self.calls("Sequential".__eq__)
            fit = [row for row in rows if self._is_row(row, outer, kinds)]
            row = only(fit)
            found: Any = row.args[int(name)] if row is not None else None
        else:
            found = only(
                [
                    node.value
                    for node in ast.walk(self.tree)
                    if isinstance(node, ast.Assign)
                    and any(isinstance(t, ast.Attribute) and t.attr == name for t in node.targets)
                ]
            )
        same = isinstance(found, ast.Call) and last_name(found.func) == kinds.get(path)
        return found if same else None

    def _is_row(self, row: ast.Call, outer: str, kinds: dict[str, str]) -> bool:
        """Whether a call of Sequential writes out the modules that are there."""
        there: list[str] = []
        while (path := f"{outer}.{len(there)}" if outer else str(len(there))) in kinds:
            there.append(kinds[path])
        written = [last_name(arg.func) if isinstance(arg, ast.Call) else "" for arg in row.args]
        return len(written) == len(there) and all(
            w in ("", t) for w, t in zip(written, there, strict=True)
        )

    def prefix(self, call: ast.Call) -> str:
        """`nn.` of `nn.Linear(…)`."""
        return self.text(call.func)[: -len(last_name(call.func))]


def last_name(node: ast.expr) -> str:
    """`Adam` of `torch.optim.Adam`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def only(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else None
