"""The code in README.md and docs/ is run, page by page.

    ```python         is executed; the blocks of a page share one namespace, as in a notebook.
                      Written with `>>>`, the output shown is compared (`...` stands for anything)
    ```console run    each `$ chainrule …` line is run, and the output below it, if any, compared
                      in the same way

Any other block is only shown. A page runs in a temporary directory of its own.
"""

import doctest
import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text: str) -> list[Token]:
    return [token for token in MarkdownIt().parse(text) if token.type == "fence"]


def run_page(text: str, filename: str) -> None:
    """Run the page's blocks in order; the first that fails raises, with the page's own line."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(text):
        assert block.map is not None
        line = block.map[0] + 1
        match block.info.split():
            case ["python"] if block.content.lstrip().startswith(">>>"):
                run_session(block.content, namespace, filename, line)
            case ["python"]:
                # The empty lines make a traceback, and the library's errors, show the page's line.
                exec(compile("\n" * line + block.content, filename, "exec"), namespace)
            case ["console", "run"]:
                run_console(block.content, f"{filename}:{line}")


def run_session(code: str, namespace: dict[str, object], filename: str, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(code, {}, filename, filename, line)
    test.globs = namespace
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    if runner.run(test, out=report.append, clear_globs=False).failed:
        pytest.fail("".join(report), pytrace=False)


def commands(content: str) -> Iterator[tuple[list[str], str]]:
    """The commands of a console block, each with the output shown below it."""
    for part in ("\n" + content).split("\n$ ")[1:]:
        command, _, shown = part.partition("\n")
        yield shlex.split(command, comments=True), shown


def run_console(content: str, where: str) -> None:
    # A terminal's width and colours are not part of what a page shows.
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"PATH": path, "PYTHONPATH": str(ROOT)}
    pairs = list(commands(content))
    assert pairs, f"{where}: no `$ chainrule …` line to run"
    for command, shown in pairs:
        assert command[0] == "chainrule", f"{where}: only `$ chainrule …` is run"
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{where}: {shlex.join(command)}\n{done.stdout}{done.stderr}"
        example = doctest.Example(shlex.join(command), shown)
        checker = doctest.OutputChecker()
        if shown.strip() and not checker.check_output(example.want, done.stdout, FLAGS):
            pytest.fail(f"{where}:\n{checker.output_difference(example, done.stdout, FLAGS)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(), str(page))


def test_readme_shows_code_that_is_run() -> None:
    assert any(block.info.split() == ["python"] for block in blocks(README.read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\nassert 1 + 1 == 3\n```",
        "```python\nx = 1\n```\n\n```python\n>>> x\n2\n```",
        "```console run\n$ chainrule no-such-command\n```",
        "```console run\n$ chainrule --help\nno such output\n```",
    ],
)
def test_a_wrong_block_would_be_seen(wrong: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_page(wrong, "planted.md")


def test_a_failure_shows_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run_page("# Title\n\n```python\nx = 1\n1 / 0\n```\n", "planted.md")
    last = traceback.extract_tb(error.tb)[-1]
    assert (last.filename, last.lineno) == ("planted.md", 5)
