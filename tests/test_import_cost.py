"""What is imported, and when: heavy libraries load only where they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STEP = """
import chainrule as cr
from chainrule import nn

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
nn.cross_entropy(model(cr.ones((2, 4))), cr.asarray([0, 2])).backward()
"""

HELP = """
import sys
from chainrule.cli import main

sys.argv = ["chainrule", "--help"]
main()
"""


def loaded_by(code: str) -> set[str]:
    """The modules in `sys.modules` of a fresh interpreter when it has run `code` and ends."""
    listing = "import atexit, sys\natexit.register(lambda: print('\\n' + ' '.join(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-c", listing + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        pytest.param(
            "import chainrule",
            "scipy polars llvmlite sklearn rich typer safetensors torch matplotlib",
            id="import",
        ),
        pytest.param(STEP, "scipy polars llvmlite", id="step"),
        pytest.param(HELP, "scipy polars sklearn", id="help"),
    ],
)
def test_loads_nothing_heavy(code: str, heavy: str) -> None:
    loaded = loaded_by(code)
    assert "chainrule" in loaded
    assert not loaded & set(heavy.split())
