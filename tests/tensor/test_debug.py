"""The debug ladder: what each level of CHAINRULE_DEBUG adds, on stderr."""

import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tensor import debug


def printed(capsys, level, compute):
    with debug.at(level):
        compute()
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def train_step():
    layer = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    layer(cr.ones((1, 2))).sum().backward()


def test_level_0_is_silent(capsys):
    assert printed(capsys, 0, train_step) == []


def test_level_1_names_operation_place_module_and_shapes(capsys):
    lines = printed(capsys, 1, train_step)
    dense = next(line for line in lines if " linear " in line)
    assert "(1, 2), (3, 2)" in dense
    assert "→ (1, 3) float32" in dense
    assert "test_debug.py:" in dense
    assert dense.split("  ")[-2].strip() == "0"  # the module's path in the Sequential
    assert any(" relu " in line for line in lines)
    assert not any("µs" in line or "bytes" in line for line in lines)
    assert not any(line.startswith("←") for line in lines)


def test_level_2_adds_time_and_bytes(capsys):
    lines = printed(capsys, 2, lambda: cr.ones((4, 5)) + 1)
    assert len(lines) == 1
    assert "µs" in lines[0]
    assert "80 bytes" in lines[0]
    assert not any(line.startswith("←") for line in printed(capsys, 2, train_step))


def test_level_3_adds_the_backward_pass(capsys):
    lines = printed(capsys, 3, train_step)
    backward = [line.startswith("←") for line in lines]
    assert True in backward
    assert False in backward
    assert not any(" mean " in line for line in lines)


def test_level_4_adds_the_range_and_what_is_not_finite(capsys):
    x = cr.asarray(np.array([1.0, 2.0, 6.0]))
    (line,) = printed(capsys, 4, lambda: x * 2)
    assert "min 2 mean 6 max 12" in line
    assert "not finite" not in line
    (line,) = printed(capsys, 4, lambda: x / cr.asarray([0.0, 1.0, 0.0]))
    assert "2 not finite" in line


def test_the_level_is_put_back_after_an_error(capsys):
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        printed(capsys, 2, fail)
    assert debug.level == 0


@pytest.mark.parametrize(
    ("level", "seen", "unseen"),
    [("0", "", "add"), ("1", "add", "bytes"), ("2", "bytes", "mean"), ("4", "mean", "¤"),
     ("nonsense", "", "add")],
)  # fmt: skip
def test_from_the_environment(level, seen, unseen):
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", "import chainrule as cr; cr.ones(2) + 1"],
        capture_output=True, encoding="utf-8", check=True,
        env={**os.environ, "CHAINRULE_DEBUG": level, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == ""
    assert seen in done.stderr
    assert unseen not in done.stderr
