"""The generated files agree with the declarations; every name in them can be had."""

import importlib.util
from pathlib import Path

import pytest

import chainrule as cr

_PATH = Path(__file__).parent.parent / "tools" / "index.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("index_tool", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_not_stale(tool):
    for path, text in tool.texts().items():
        assert path.read_text() == text, f"{path.name} is stale: run `make index`"


def test_every_public_name_loads():
    from chainrule._index import EXTENSIONS, MODULES, NAMES

    for name in [*NAMES, *MODULES]:
        assert getattr(cr, name) is not None or name == "newaxis"
    for space, names in EXTENSIONS.items():
        for name in names:
            assert getattr(getattr(cr, space), name) is not None


def test_a_misspelt_name_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=r"did you mean .*softmax"):
        cr.sofmax  # noqa: B018
