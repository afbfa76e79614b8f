"""How kernels are written: what is shown is what is computed, and names are told apart."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import CompileError

FUNCTIONS = {"where": np.where, "exp": np.exp, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0),
             "sum": np.sum, "max": np.max, "sqrt": np.sqrt, "maximum": np.maximum}  # fmt: skip


def equations(compiled):
    """(target, expression) of each line of the kernels; `%3` becomes `v3`."""
    for line in compiled.show("fused").splitlines():
        if line.startswith("    "):
            left, _, right = line.partition("#")[0].strip().partition(" = ")
            expression = re.sub(r", (along|over) .*", "", right)
            yield left.rpartition(" := ")[2].replace("%", "v"), expression.replace("%", "v")


def evaluated(compiled, **values):
    """What the shown equations give, line after line, in Python."""
    for target, expression in equations(compiled):
        values[target] = eval(expression, FUNCTIONS, values)
    return values[target]


RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal((3, 4)) for _ in range(3))


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, c: a - (b - c),
        lambda a, b, c: a / (b / c) * (a * b) / c,
        lambda a, b, c: -(a + b) * -c - (-a),
        lambda a, b, c: (a + b) * (a + b) - cr.exp(a - b) * c,
        lambda a, b, c: cr.where((a > b) & ~(b <= c), a + b, cr.maximum(b, c)) / (c + 3),
        lambda a, b, c: (a @ b.T) @ (cr.tanh(c) + 1),
        lambda a, b, c: cr.tanh(a @ b.T) * 2 - (b @ c.T).T,
        lambda a, b, c: (a * cr.sum(b * c) + cr.max(cr.exp(a) / b)).sum(),
    ],
)
def test_the_equations_shown_give_the_result(function):
    compiled = cr.compile(lambda a, b, c: function(a, b, c))
    result = compiled(*map(cr.asarray, (A, B, C))).numpy()
    names = {"a": A, "b": B, "c": C}
    np.testing.assert_allclose(evaluated(compiled, **names), result, 1e-12)


def trained():
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    optimizer = optim.Adam([*model.parameters(), *other.parameters()])

    @cr.compile
    def step(x, target=None):
        loss = ((model(x) + other(x) - target) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(cr.asarray(A), target=cr.asarray(B[:, :3]))
    return step


def test_leaves_are_called_what_they_are_outside():
    graph = trained().show("graph")
    leaves = dict(re.findall(r"^(\S+) += (argument|state|number of the host)", graph, re.MULTILINE))
    cells = [f"{name}{n}" for n in ("", "~2") for name in ("weight", "bias")]
    running = [f"{name}.exp_avg{which}{n}" for n in ("", "~2") for name in ("weight", "bias")
               for which in ("", "_sq")]  # fmt: skip
    assert [n for n, kind in leaves.items() if kind == "argument"] == ["x", "target"]
    assert {n for n, kind in leaves.items() if kind == "state"} == {*cells, *running}
    assert set(re.findall(r"^(\S+) := ", graph, re.MULTILINE)) == {*cells, *running}


def test_every_name_of_a_kernel_is_of_the_graph_or_of_a_kernel_before():
    step = trained()
    known = set(re.findall(r"^(\S+) +=", step.show("graph"), re.MULTILINE))
    known |= set(re.findall(r"^(%\d+) = ", step.show("graph"), re.MULTILINE))
    for target, expression in equations(step):
        used = set(re.findall(r"\bv\d+\b", expression))
        assert {name.replace("v", "%") for name in used} <= known
        known.add(target.replace("v", "%"))


def test_no_two_items_have_one_name():
    compiled = cr.compile(lambda x: (x, cr.concat([x, x * 2]), cr.flip(x), x.astype("int32")))
    compiled(cr.asarray(A))
    targets = [target for target, _ in equations(compiled)]
    assert len(targets) == len(set(targets))


def test_parts_of_a_concatenation_and_what_is_indexed():
    compiled = cr.compile(lambda x, y, i: (cr.concat([x, y, x * 2]), x[1:, 0] + 1, x[i] * 2))
    compiled(cr.asarray(A), cr.asarray(B), cr.asarray([1, 0]))
    fused = compiled.show("fused")
    assert re.search(r"concat\(x, y, %\d+\)", fused)
    assert "x[1:, 0] + 1" in fused
    assert re.search(r"x\[i\] \* 2", fused)


def test_the_bodies_of_a_scan_are_shown_once_each():
    compiled = cr.compile(lambda x: cr.scan(lambda h, x: (cr.tanh(h + x), h), cr.zeros(4), x))
    compiled(cr.asarray(A.astype(np.float32)))
    assert compiled.show("fused").count("tanh(") == 1
    assert compiled.show("graph").count("= tanh(") == 1


def test_one_kernel_of_the_code():
    step = trained()
    whole = step.show("asm")
    for kind in ("llvm", "asm"):
        for number in range(step.show("fused").count("kernel ")):
            part = step.show(kind, kernel=number)
            assert part in (step.show(kind) if kind == "llvm" else whole)
            assert part.count("define") == (kind == "llvm")
    with pytest.raises(CompileError, match="kernels 0 to"):
        step.show("asm", kernel=1000)
    with pytest.raises(CompileError, match="'schedule'"):
        step.show("nothing")
