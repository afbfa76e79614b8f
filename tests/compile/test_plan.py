"""A graph that was met before is run by its plan from the disk, and no other graph is."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile import plan
from chainrule.compile.native import compile
from chainrule.compile.plan import key_of
from chainrule.errors import BoundsError
from chainrule.ops import operation
from chainrule.ops.declare import elementwise

TRAIN = """
import sys

import numpy as np
import chainrule as cr
from chainrule import nn, optim

cr.seed(0)
model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Dropout(0.3), nn.Linear(7, 3))
optimizer = optim.Adam(model.parameters(), lr=1e-2)
table = cr.asarray(np.arange(4, dtype=np.float32))

@cr.compile
def step(x, y):
    loss = nn.cross_entropy(model(x), y) + (table * x.shape[0]).mean()
    loss.backward()
    optimizer.step()
    return loss

x = cr.asarray(np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5))
y = cr.asarray([0, 2, 1, 1])
print([float(step(x, y)).hex() for _ in range(5)])
print("compiled" if "chainrule.compile.native" in sys.modules else "recalled")
print(step.show("schedule"))
print(step.show("memory"))
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))


def test_another_process_recalls_it() -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert "\ncompiled\n" in first
    assert second == first.replace("\ncompiled\n", "\nrecalled\n")


def key(function, *args):
    """The key of what a function of arrays becomes."""
    programs = []

    def backend(program):
        programs.append(program)
        return lambda: None

    compiled = cr.compile(function, backend=backend)
    with pytest.raises(AttributeError):  # it has no `run`
        compiled(*[cr.asarray(a) for a in args])
    return key_of(programs[0])


X = np.ones((2, 3), np.float32)


def test_equal_graphs_have_equal_keys() -> None:
    assert key(lambda x: x * 2 + 1, X) == key(lambda y: y * 2 + 1, X) is not None


@pytest.mark.parametrize(
    ("function", "args"),
    [
        pytest.param(lambda x: x * 2 + 1, (X.T,), id="shape"),
        pytest.param(lambda x: x * 2 + 1, (X.astype(np.float64),), id="dtype"),
        pytest.param(lambda x: x * 2 + 3, (X,), id="number"),
        pytest.param(lambda x: 1 + x * 2, (X,), id="order"),
        pytest.param(lambda x: x * 2 - 1, (X,), id="operation"),
        pytest.param(lambda x: (x * 2 + 1, x), (X,), id="results"),
    ],
)
def test_other_graphs_have_other_keys(function, args) -> None:
    assert key(function, *args) != key(lambda x: x * 2 + 1, X)


def test_attributes_and_constants_are_part_of_it() -> None:
    keys = [
        key(lambda x: x.sum(0), X),
        key(lambda x: x.sum(1), X),
        key(lambda x: x + cr.asarray([1.0, 2.0, 0.0]), X),
        key(lambda x: x + cr.asarray([1.0, 2.0, -0.0]), X),
        key(lambda x, y: x - y, X, X),
        key(lambda x, y: y - x, X, X),
        key(lambda x, y: x - x, X, X),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_which_storage_is_written_is_part_of_it() -> None:
    first, second = nn.Parameter(X), nn.Parameter(X)

    def update(cell, other):
        def function(x):
            cell.assign(x + first + second)
            return other * 2

        return function

    keys = {key(update(first, second), X), key(update(second, second), X)}
    assert len(keys) == 2


def test_of_an_operation_of_the_users_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "registry", {})
    double = elementwise("double", lambda x: 2 * x, formula="2 · x", derivative=2.0)
    assert key(lambda x: double(x), X) is None
    np.testing.assert_array_equal(cr.compile(lambda x: double(x))(cr.asarray(X)), 2 * X)


def test_constants_come_back_with_it() -> None:
    table = np.arange(50, dtype=np.float32)
    for _ in range(2):
        scaled = cr.compile(lambda x: x * table)
        np.testing.assert_array_equal(scaled(cr.asarray(table)), table * table)


def test_a_recalled_program_tells_where_an_index_was_wrong() -> None:
    table = cr.asarray(np.arange(6, dtype=np.float32).reshape(3, 2))
    messages = set()
    for _ in range(2):
        rows = cr.compile(lambda i: cr.take(table, i, axis=0) * 2)
        rows(cr.asarray([0, 2]))
        with pytest.raises(BoundsError, match=r"test_plan\.py") as error:
            rows(cr.asarray([0, 3]))
        messages.add(str(error.value))
    assert len(messages) == 1


def test_a_plan_that_is_lost_is_made_again(tmp_path: Path) -> None:
    for damage in (None, b"", b"foreign" * 99):
        if damage is not None:
            for file in (tmp_path / "cache").iterdir():
                file.write_bytes(damage)
        square = cr.compile(lambda x: (x * x).sum(0))
        np.testing.assert_array_equal(square(cr.asarray(X)), [2, 2, 2])


def test_plans_with_much_in_them_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LARGEST", 8)
    kept = plan.Plan("", [], 0, 0, [], [b"123456789"])
    plan.keep(b"k" * 32, kept)
    assert plan.recall(b"k" * 32) is None
    plan.keep(b"k" * 32, kept._replace(constants=[b"1234", b"5678"]))
    assert plan.recall(b"k" * 32) == kept._replace(constants=[b"1234", b"5678"])


def test_equal_layers_have_equal_kernels() -> None:
    """A residual network of many layers has no more kernels than one of a few."""

    class Block(nn.Module):
        def __init__(self) -> None:
            self.norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 16)

        def forward(self, x):
            return x + self.linear(self.norm(x))

    def kernels(layers: int) -> int:
        model = nn.Sequential(*[Block() for _ in range(layers)])
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        compiled = cr.compile(step)
        compiled(cr.ones((32, 16)))
        return len(compiled._latest().executable.plan.names)

    assert kernels(12) == kernels(6)


def test_compiling_twice_gives_the_same_plan() -> None:
    programs = []

    def backend(program):
        programs.append(program)
        return lambda: None

    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    with pytest.raises(AttributeError):
        cr.compile(lambda x: nn.cross_entropy(model(x), cr.asarray([0, 1])), backend=backend)(
            cr.ones((2, 5))
        )
    assert compile(programs[0]).plan == compile(programs[0]).plan


USERS = """
import sys
import chainrule as cr
from chainrule.ops.declare import elementwise

k = float(sys.argv[1])
times = elementwise("times_k", lambda x: x * k, formula="k · x", derivative=lambda x, y: k,
                    lower=lambda lanes, x: x * k)
print(cr.compile(times)(cr.asarray([1.0, 2.0])).tolist())
"""


def test_code_of_a_users_operation_is_no_other_process(tmp_path, monkeypatch):
    """Where its function lies tells nothing in another process: there another may lie."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    fixed = ["setarch", "-R"]  # the same addresses again
    if not shutil.which("setarch") or subprocess.run([*fixed, "true"]).returncode:
        fixed = []
    for k in (2.0, 3.0):
        command = [*fixed, sys.executable, "-c", USERS, str(k)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str([k, 2 * k])


def test_what_is_lowered_and_rewritten_by_name_exists():
    """Forms and rules are found by the name of an operation; one renamed would be left behind."""
    from chainrule.compile import heads, images, scans  # noqa: F401 - their forms
    from chainrule.compile.forms import FORMS
    from chainrule.compile.rules import RULES
    from chainrule.ops.operation import registry

    assert set(FORMS) - set(registry) == {"scan"}  # made by `cr.scan`, and not declared
    assert set(RULES) - set(registry) == {"with_derivative"}  # of custom derivatives, likewise
