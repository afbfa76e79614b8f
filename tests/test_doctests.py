"""Every `>>>` example in the package's source is run: in docstrings and in declarations' texts.

They are read from the source and not from the objects, because a decorated function or an
operation's declaration hides its docstring from `doctest.DocTestFinder`.
"""

import ast
import doctest
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(source: str) -> Iterator[ast.Constant]:
    """The string literals of `source` that hold examples."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ">>> " in node.value:
            yield node


FILES = [path for path in sorted((ROOT / "chainrule").rglob("*.py")) if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    before = "torch" in sys.modules  # where tests/against runs in the same process
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for text in examples(path.read_text()):
        test = doctest.DocTestParser().get_doctest(
            text.value, dict(vars(module)), name, str(path), text.lineno - 1
        )
        runner.run(test, out=report.append)
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)
    assert runner.tries, f"{path} has a `>>>` that is not an example"
    assert before or "torch" not in sys.modules, "only tests/against may need torch"


def test_a_wrong_example_would_be_seen() -> None:
    (text,) = examples("def f():\n    '''\n    >>> 1 + 1\n    3\n    '''\n")
    test = doctest.DocTestParser().get_doctest(text.value, {}, "planted", None, text.lineno - 1)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test, out=lambda _: None).failed == 1
