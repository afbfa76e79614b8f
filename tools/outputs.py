"""Write what the sessions of pages print: `make docs-outputs PAGES="docs/math/*.md"`.

The ```python blocks of a page run in order, as the suite runs them. Below each example written with
`>>>` comes what it printed. An output that still agrees is left as it is, so that what was elided
there by hand with `...` stays so. In a new one is elided what differs from machine to machine, by
how much a check is off, and which line of the page an operation stands in.
"""

from __future__ import annotations

import contextlib
import doctest
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Recorder(doctest.DocTestRunner):
    """Runs a session, and remembers the outputs that the page does not show."""

    def __init__(self) -> None:
        super().__init__(optionflags=FLAGS)
        self.new: dict[int, str] = {}

    def report_failure(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        self.new[example.lineno] = elided(got)

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        raise exc_info[1]


def elided(text: str) -> str:
    """The text without what differs from machine to machine, or with the page's other parts, and
    without empty lines, at which an output ends for doctest."""
    text = re.sub(r": off by \S+, bound \S+", ": ...", text)
    text = re.sub(r": off by \S+$", ": off by ...", text, flags=re.MULTILINE)
    text = re.sub(r"(\.md)(\[\d+\]>)?:\d+", r"\1...", text)
    return re.sub(r"\n\n+", "\n", text)


def filled(text: str, filename: str) -> str:
    """The page with its outputs as they are now."""
    lines = text.splitlines(keepends=True)
    namespace: dict[str, object] = {"__name__": "__main__"}
    out, done = [], 0
    for block in MarkdownIt().parse(text):
        if block.type != "fence" or block.info.split() != ["python"] or block.map is None:
            continue
        start, end = block.map[0] + 1, block.map[1] - 1
        out += lines[done:start]
        done = end
        if block.content.lstrip().startswith(">>>"):
            out.append(session(block.content, namespace, filename, start))
        else:
            exec(compile("\n" * start + block.content, filename, "exec"), namespace)
            out += lines[start:end]
    return "".join(out + lines[done:])


def session(code: str, namespace: dict[str, object], filename: str, line: int) -> str:
    """A session with its outputs."""
    parser, recorder = doctest.DocTestParser(), Recorder()
    test = parser.get_doctest(code, {}, filename, filename, line)
    test.globs = namespace
    recorder.run(test, clear_globs=False)
    parts: list[str] = []
    for piece in parser.parse(code, filename):
        if isinstance(piece, doctest.Example):
            prompts = [">>> ", *["... "] * piece.source.count("\n")]
            source = piece.source.splitlines()
            parts += [f"{p}{s}".rstrip() + "\n" for p, s in zip(prompts, source, strict=False)]
            parts.append(recorder.new.get(piece.lineno, piece.want))
        else:
            parts.append(piece)
    return "".join(parts)


def main() -> None:
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            new = filled(page.read_text(), str(page))
        page.write_text(new)


if __name__ == "__main__":
    main()
