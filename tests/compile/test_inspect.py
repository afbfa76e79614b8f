"""Looking at compiled functions: every form, the profile and its trace, the debug ladder."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile import inspect

FORMS = ("graph", "fused", "schedule", "memory", "llvm", "asm")


def floats(*shape):
    return cr.asarray(np.random.default_rng(0).standard_normal(shape).astype("f4"))


@pytest.fixture(scope="module")
def step():
    """A step of training that was called once, and its arguments."""
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))
    opt = optim.Adam(model.parameters(), lr=0.01)

    @cr.compile
    def train(x, y):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    args = floats(16, 20), cr.asarray(np.arange(16) % 10)
    train(*args)
    return train, args


def test_the_graph_names_operations_shapes_and_lines(step):
    text = step[0].show("graph")
    assert len(re.findall(r"= matmul\(", text)) == 5
    assert "float32[16, 32]" in text
    assert "test_inspect.py:" in text
    assert "exp(" in text


def test_each_kernel_says_what_it_computes(step):
    fused, schedule = (step[0].show(kind).splitlines() for kind in ("fused", "schedule"))
    kernels = step[0]._latest().executable.compiled.kernels
    assert sum(line.startswith("kernel") for line in fused) == len(kernels)
    assert any("matmul" in line or "@" in line for line in fused)
    rows = [line for line in schedule if re.match(r"\s+\d+ ", line)]
    assert len(rows) == len(kernels)
    assert any("tiles of" in line for line in rows)  # how the product is cut


def test_the_plan_of_memory_tells_its_size(step):
    text = step[0].show("memory")
    size = step[0]._latest().executable.plan.arena
    assert f"{size:,}" in text.splitlines()[0]
    places = [int(n.replace(",", "")) for n in re.findall(r"^\s+([\d,]+) …", text, re.MULTILINE)]
    assert places == sorted(places)
    assert all(n < size for n in places)


def test_the_code_is_that_of_the_kernels(step):
    names = step[0]._latest().executable.compiled.names.values()
    llvm, asm = step[0].show("llvm"), step[0].show("asm")
    assert all(re.search(rf'define void @"?{name}"?\(', llvm) for name in names)
    assert all(re.search(rf"^{name}:", asm, re.MULTILINE) for name in names)
    assert "ret" in asm


def test_an_unknown_form_is_named_with_those_that_there_are(step):
    with pytest.raises(cr.CompileError, match=r"'graph'.*not 'tree'"):
        step[0].show("tree")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,  # only a copy
        lambda x: (cr.asarray(2.0), x.T),
        lambda x: cr.cumulative_sum(x, axis=0),  # NumPy's
        lambda x: cr.scan(lambda c, r: (c + r, c), x[0], x),
        lambda x: cr.dropout(x, 0.5),
        lambda x: cr.max(x, axis=0) + cr.take(x, cr.asarray([0, 0]), axis=0),
        lambda x: cr.grad(lambda x: nn.conv2d(x[None, None], x[None, None, :2, :2]).sum())(x),
    ],
)
def test_every_form_of_every_kind_of_kernel_is_text(function):
    compiled = cr.compile(function)
    compiled(floats(4, 5))
    for kind in FORMS:
        assert isinstance(compiled.show(kind), str)
    assert compiled.show("graph")
    assert compiled.profile(floats(4, 5)).kernels


def test_a_profile_is_one_call():
    """However often the kernels are timed, state is written once."""
    count, drawn = nn.Buffer(cr.zeros(3)), nn.Buffer(cr.zeros(3))

    @cr.compile
    def f():
        count.assign(count + 1)
        drawn.assign(cr.random.uniform((3,)))

    f()
    cr.seed(5)
    f.profile()
    assert count.tolist() == [2.0] * 3
    cr.seed(5)
    np.testing.assert_array_equal(drawn.numpy(), cr.random.uniform((3,)).numpy())


def test_a_profile_has_a_row_for_each_kernel(step):
    train, args = step
    profile = train.profile(*args)
    kernels = train._latest().executable.compiled.kernels
    assert len(profile.kernels) == len(kernels)
    assert profile.seconds == pytest.approx(sum(k.seconds for k in profile.kernels))
    for timed, kernel in zip(profile.kernels, kernels, strict=True):
        assert timed.seconds >= 0
        assert timed.flops == kernel.code.flops
        assert 0 <= timed.share <= 1 or timed.seconds == 0
    # A product of m × k by k × n has 2 m n k operations.
    products = sorted(
        k.flops for k, c in zip(profile.kernels, kernels, strict=True)
        if any(i.name == "matmul" for i in c.items)
    )  # fmt: skip
    assert products == [2 * 16 * 32 * 10] * 3 + [2 * 16 * 20 * 32] * 2
    assert any("test_inspect.py:" in place for k in profile.kernels for place in k.places)
    table = str(profile).splitlines()
    assert table[0].startswith("train:")
    assert len(table) >= 2


def test_a_profile_has_medians(step):
    executable = step[0]._latest().executable
    count = len(executable.compiled.kernels)
    times = np.outer([3.0, 1.0, 100.0], 1e-6 * np.arange(1, count + 1))
    profile = inspect.profile(executable, times)
    np.testing.assert_allclose([k.seconds for k in profile.kernels], 3e-6 * np.arange(1, count + 1))
    assert profile.seconds == pytest.approx(3e-6 * count * (count + 1) / 2)
    slowest = str(profile).splitlines()[2]
    assert float(slowest.split()[0]) == pytest.approx(3 * count)


def test_a_saved_trace_is_what_chrome_reads(step, tmp_path):
    profile = step[0].profile(*step[1])
    path = tmp_path / "trace.json"
    profile.save(path)
    trace = json.loads(path.read_text())
    events = trace["traceEvents"]
    assert len(events) == len(profile.kernels)
    end = 0.0
    for event, kernel in zip(events, profile.kernels, strict=True):
        assert event["ph"] == "X"
        assert event["name"]
        assert event["dur"] == pytest.approx(kernel.seconds * 1e6)
        assert event["ts"] == pytest.approx(end)
        assert {"pid", "tid"} <= event.keys()
        end = event["ts"] + event["dur"]
    assert json.loads(json.dumps(profile.to_dict()))["seconds"] == pytest.approx(profile.seconds)


LADDER = """
import chainrule as cr
f = cr.compile(lambda x: cr.tanh(x) @ x)
f(cr.ones((4, 4)))
f(cr.ones((4, 4)))
"""


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (0, []),
        (1, ["schedule"]),
        (2, ["schedule", "fused"]),
        (3, ["schedule", "fused", "graph", "memory"]),
        (4, ["schedule", "fused", "graph", "memory", "llvm", "asm"]),
    ],
)
def test_the_debug_ladder_tells_more_on_each_step(level, told, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LADDER],
        env={"CHAINRULE_DEBUG": str(level), "CHAINRULE_CACHE": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"^<lambda>: (\w+)$", done.stderr, re.MULTILINE) == told
    assert done.stdout == ""
