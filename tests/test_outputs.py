"""The tool that writes into a page what its sessions print."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parent.parent / "tools" / "outputs.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("outputs_tool", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(session: str) -> str:
    return f"# A page\n\n```python\nx = 2\n```\n\n```python\n{session}```\n\nThe end.\n"


def test_outputs_are_written_below_their_examples(tool):
    asked = ">>> x + 1\n>>> for i in range(x):\n...     print(i)\n>>> y = 1\n"
    answered = ">>> x + 1\n3\n>>> for i in range(x):\n...     print(i)\n0\n1\n>>> y = 1\n"
    assert tool.filled(page(asked), "page.md") == page(answered)
    assert tool.filled(page(answered), "page.md") == page(answered)


def test_an_output_that_no_longer_agrees_is_written_anew(tool):
    stale = ">>> x + 1\n4\n>>> 'one two three'\n'one ... three'\n"
    fresh = ">>> x + 1\n3\n>>> 'one two three'\n'one ... three'\n"
    assert tool.filled(page(stale), "page.md") == page(fresh)


def test_what_machines_disagree_about_is_elided(tool):
    text = "z = f(x)   page.md:12\n\ncheck ✓ sums: off by 1.2e−07, bound 3e−05 (2 times)\n"
    assert tool.elided(text) == "z = f(x)   page.md...\ncheck ✓ sums: ... (2 times)\n"
    assert tool.elided("✓ the Python, run: off by 0.0e+00") == "✓ the Python, run: off by ..."


def test_what_fails_is_raised(tool):
    with pytest.raises(ZeroDivisionError):
        tool.filled(page(">>> 1 / 0\n"), "page.md")
