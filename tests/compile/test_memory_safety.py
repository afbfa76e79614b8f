"""No access out of bounds: programs on memory with guard pages around each piece of it."""

import os
import subprocess
import sys

import pytest

PROGRAMS = {
    "registry": """
        from tests.compile.test_registry import OTHERS, as_function, gradient
        for case in OTHERS[{part}::{step}]:
            function, arrays = as_function(*case.values, "float32")
            call(function, arrays)
            results = function(*map(cr.asarray, arrays))
            if case.values[0].differentiable and arrays and results[0].dtype.kind == "f":
                call(gradient(function, len(arrays)), arrays)
        """,
    "elementwise": """
        from tests.compile.test_registry import ELEMENTWISE, SHAPES, laid_out
        for a, b in SHAPES:
            call(lambda a, b: laid_out(a, b, a + b), [np.ones(a, "f4"), np.ones(b, "f4")])
        some = [op for op in ELEMENTWISE.values() if op.accepts in ("any", "number", "real")]
        for dtype in ("float64", "int8", "float16"):
            for n in (1, 17):
                args = [np.arange(1, n + 1).astype(dtype)] * 2
                call(lambda *xs: [op(*xs[: op.arity]) for op in some[{part} :: 2]], args)
        """,
    "graphs": """
        import random
        from tests.compile import graphs
        from chainrule.compile import nests
        draw = random.Random({part})
        for number in range(16):
            nests.WORTH_SHARING = 20 if number % 2 else 60_000
            names = graphs.WEIGHTS if number % 4 == 3 else [*graphs.WEIGHTS, "read", "write"]
            moves = tuple((draw.choice(names), draw.randrange(2**20)) for _ in range(8))
            shapes = tuple(draw.choice(graphs.SHAPES) for _ in range(2))
            graph = graphs.Graph(shapes, moves, (0, 1, 2), number % 4 == 3)
            call(graph.function(graph.cells()), graph.arrays())
        """,
    "products": """
        sizes = [1, 7, 16, 17, 33]
        for i, m in enumerate(sizes):
            for j, n in enumerate(sizes):
                k = sizes[(i * 3 + j + {part}) % 5]
                a, b, c = (np.ones(s, "f4") for s in ((m, k), (k, n), (n,)))
                if (i + j) % 2:
                    b = b.T
                    call(lambda a, b, c: [cr.relu(a @ b.mT + c), (a @ b.mT).sum(axis=0)], [a, b, c])
                else:
                    call(lambda a, b, c: [a.mT @ (a @ b + c)], [a, b, c])
        call(lambda a, b: [a @ b], [np.ones((150, 300), "f4"), np.ones((300, 130), "f4")])
        """,
    "training": """
        from tests.compile.test_training import MODELS, batch, setting
        for name in MODELS:
            for dtype in (np.float32, np.float64):
                _, _, step = setting(name, dtype=dtype)
                step = cr.compile(step)
                for number in range(3):
                    step(*batch(name, number, dtype))
        """,
}
START = """
import numpy as np
import chainrule as cr
from tests.compile.comparing import silent
from tests.compile.guarded import everywhere

def call(function, arrays):
    with silent():
        cr.compile(function)(*map(cr.asarray, arrays))

"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def guarded(code):
    lines = [line.removeprefix("        ") for line in code.splitlines()]
    return START + "with everywhere():\n" + "\n".join("    " + line for line in lines)


@pytest.mark.parametrize(
    ("name", "part"), [(n, part) for n in PROGRAMS for part in range(1 if n == "training" else 2)]
)
def test_nothing_is_touched_out_of_bounds(name, part):
    step = 2 if "CHAINRULE_FUZZ" in os.environ else 8
    code = PROGRAMS[name].replace("{part}", str(part)).replace("{step}", str(step))
    found = run(guarded(code))
    assert found.returncode == 0, found.stderr[-2000:]


@pytest.mark.parametrize("where", ["input", "output", "arena"])
def test_an_access_out_of_bounds_is_fatal(where):
    """The guards see what they are for: plans whose buffers are too small by one element."""
    change = {
        "input": "native._packed = lambda b, n: View(b, n.shape, packed(n.shape), n.dtype, 1)",
        "output": "executable.Executable._results = property(lambda s: [((35,), np.dtype('f4'))],"
        " lambda s, v: None)",
        "arena": "plan = native.plan_memory; native.plan_memory = lambda kernels: "
        "[setattr(b, 'nbytes', 128) for k in kernels for b in k.writes] and plan(kernels)",
    }[where]
    code = f"""
        from chainrule.compile import executable, native
        from chainrule.compile.views import Buffer, View, packed
        {change}
        call(lambda x: [(x @ x) @ x], [np.ones((6, 6), "f4")])
        """
    found = run(guarded(code))
    assert found.returncode < 0, (found.returncode, found.stderr[-500:])
