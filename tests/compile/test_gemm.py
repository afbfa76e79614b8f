"""Matrix products against NumPy's in float64: every layout, width of vectors, and way to be cut.

Operands are small whole numbers where results are compared for equality: no sum of them is rounded.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llvmlite import ir

from chainrule.compile.emit import gemm, tiling
from chainrule.compile.emit.cores import Core, core
from chainrule.compile.emit.kernel import KernelCode, Routine, Step, argument, kernel
from chainrule.compile.emit.lanes import I64, Lanes
from chainrule.compile.emit.loops import at, repeat
from chainrule.compile.emit.packing import Pack, pack
from chainrule.compile.machine import machine
from tests.compile.routines import run

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
MACHINES = [
    machine(),
    dataclasses.replace(machine(), vector_bits=256, lanes=8, vector_registers=16),
    dataclasses.replace(machine(), vector_bits=128, lanes=4, vector_registers=32),
]
LAYOUTS = ("rows", "columns", "spread", "every other row")


def laid_out(rng, batch, rows, columns, layout, dtype):
    """Memory, and in it a matrix (a batch of them) of whole numbers with a layout."""
    if layout == "rows":
        memory = view = np.empty((*batch, rows, columns), dtype)
    elif layout == "columns":
        memory = np.empty((*batch, columns, rows), dtype)
        view = memory.swapaxes(-1, -2)
    elif layout == "spread":
        memory = np.empty((*batch, rows, 3 * columns), dtype)
        view = memory[..., ::3][..., :columns]
    else:
        memory = np.empty((*batch, 2 * rows, columns), dtype)
        view = memory[..., ::2, :][..., :rows, :]
    memory[...] = rng.integers(-4, 5, memory.shape)
    return memory, view


def contraction(a, b):
    """What there is to compute for two views, whose batch dimensions are equal."""
    of_a, of_b = ([s // x.itemsize for s in x.strides] for x in (a, b))
    batch = tuple(zip(a.shape[:-2], of_a[:-2], of_b[:-2], strict=True))
    return gemm.Contraction(
        a.dtype, batch, a.shape[-2], b.shape[-1], a.shape[-1], *of_a[-2:], *of_b[-2:]
    )


def product(c, chosen, a, b, finish=None, **others):
    """What the kernel for a plan leaves in C."""
    shape = (*(size for size, _, _ in c.batch), c.m, c.n)
    result = np.full(shape, np.nan, c.dtype)
    if finish is None:
        finish = gemm.store_to(2, tuple(s // c.dtype.itemsize for s in result.strides))
    code = KernelCode(
        repr(chosen),
        lambda module, name: gemm.emit(module, name, chosen, finish),
        chosen.tasks,
        chosen.scratch,
        c.flops,
        c.bytes,
    )
    routine = Routine((Step(code, ("a", "b", "c", *others)),))
    return run(routine, {"a": a, "b": b, "c": result, **others})["c"]


def through_finish(store):
    """A finish that is a function, to which results come from scratch memory."""
    return lambda *arguments: store(*arguments)


@st.composite
def problems(draw):
    sizes = st.integers(0, 70) | st.sampled_from([1, 2, 3, 16, 17, 32])
    return (
        *(draw(sizes) for _ in range(3)),
        *(draw(st.sampled_from(LAYOUTS)) for _ in range(2)),
        draw(st.sampled_from([(), (1,), (3,), (2, 3), (0,)])),
        draw(st.sampled_from([FLOAT, DOUBLE])),
        draw(st.sampled_from(range(len(MACHINES)))),
        draw(st.booleans()),
    )


@settings(max_examples=120, deadline=None)
@given(problems())
@example((1, 40, 50, "rows", "columns", (), FLOAT, 0, False))
@example((4, 100, 33, "rows", "columns", (2,), FLOAT, 1, True))
@example((70, 1, 40, "rows", "columns", (), DOUBLE, 0, False))
@example((37, 10, 70, "rows", "columns", (), FLOAT, 2, False))
@example((37, 70, 65, "spread", "spread", (), FLOAT, 0, False))
@example((5, 7, 0, "rows", "rows", (), FLOAT, 0, True))
@example((0, 7, 3, "rows", "rows", (), FLOAT, 0, False))
def test_equals_numpy(problem):
    check(*problem)


@settings(max_examples=80, deadline=None)
@given(problems())
@example((40, 50, 70, "columns", "columns", (2, 3), FLOAT, 0, False))
@example((40, 50, 70, "spread", "columns", (), FLOAT, 1, True))
def test_equals_numpy_however_it_is_cut(problem):
    """As above, with tasks of little work and strips of few k: many of both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "_WORK", 2000)
        patch.setattr(tiling, "_LONGEST", 32)
        patch.setattr(tiling, "_FEWEST", 1)
        check(*problem)


def check(m, n, k, layout_a, layout_b, batch, dtype, which, plainly):
    rng = np.random.default_rng(0)
    memory_a, a = laid_out(rng, batch, m, k, layout_a, dtype)
    memory_b, b = laid_out(rng, batch, k, n, layout_b, dtype)
    c = contraction(a, b)
    finish = None
    if not plainly:
        row, strides = max(n, 1), []
        for size in (m, *reversed(batch)):
            strides.insert(0, row)
            row *= size
        finish = through_finish(gemm.store_to(2, (*strides, 1)))
    result = product(c, gemm.plan(c, MACHINES[which]), memory_a, memory_b, finish)
    np.testing.assert_array_equal(result, np.matmul(a.astype(float), b.astype(float)))


@pytest.mark.parametrize(
    ("m", "n", "k", "layouts"),
    [
        (130, 300, 500, ("rows", "columns")),
        (256, 200, 90, ("columns", "rows")),
        (20, 133, 9000, ("rows", "columns")),
        (1, 1000, 2000, ("rows", "columns")),
        (3, 1000, 700, ("rows", "rows")),
        (600, 1000, 1, ("columns", "rows")),
        (100, 1024, 1500, ("rows", "rows")),
        (2000, 2, 300, ("rows", "columns")),
    ],
)
def test_several_tasks(m, n, k, layouts):
    rng = np.random.default_rng(0)
    memory_a, a = laid_out(rng, (), m, k, layouts[0], FLOAT)
    memory_b, b = laid_out(rng, (), k, n, layouts[1], FLOAT)
    c = contraction(a, b)
    chosen = gemm.plan(c, machine())
    assert chosen.tasks > 1
    result = product(c, chosen, memory_a, memory_b)
    np.testing.assert_array_equal(result, a.astype(float) @ b.astype(float))


def test_bits_do_not_depend_on_tiles_and_tasks():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(FLOAT) for s in ((60, 200), (200, 90)))
    c = contraction(a, b)
    chosen = gemm.plan(c, machine())
    results = [
        product(c, dataclasses.replace(chosen, **changes), a, b)
        for changes in (
            {},
            {"rows": 7, "columns": 48, "mc": 14, "nc": 48},
            {"rows": 12, "columns": 32, "mc": 24, "nc": 64, "pack_b": True, "along_rows": False},
            {"rows": 12, "columns": 32, "mc": 24, "nc": 96, "pack_a": True},
        )
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_allclose(results[0], a.astype(float) @ b.astype(float), rtol=0, atol=1e-4)


def test_broadcast_batch():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype(FLOAT) for s in ((2, 1, 9, 20), (3, 20, 18)))
    c = contraction(np.broadcast_to(a, (2, 3, 9, 20)), np.broadcast_to(b, (2, 3, 20, 18)))
    np.testing.assert_array_equal(product(c, gemm.plan(c, machine()), a, b), a @ b)


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
def test_result_in_columns(dtype):
    """Results that lie apart in memory."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype(dtype) for s in ((19, 20), (20, 37)))
    c = contraction(a, b)
    turned = product(c, gemm.plan(c, machine()), a, b, gemm.store_to(2, (1, 19)))
    np.testing.assert_array_equal(turned.reshape(37, 19), (a @ b).T)


@pytest.mark.parametrize("n", [5, 16, 37, 64])
def test_finish(n):
    """relu(a·b + bias), and the row's number where the column is the batch's."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype(FLOAT) for s in ((3, 21, 30), (3, 30, n)))
    bias = rng.integers(-40, 40, n).astype(FLOAT)
    store = gemm.store_to(2, (21 * n, n, 1))

    def finish(builder, args, batch, row, column, value, mask):
        lanes = Lanes(builder, value.type.count)
        place = at(builder, argument(builder, args, 3), value.type.element, column)
        shifted = builder.fadd(value, lanes.load(place, FLOAT, mask))
        number = builder.sitofp(builder.add(row, batch[0]), value.type.element)
        zero = lanes.constant(0, FLOAT)
        positive = builder.fcmp_ordered(">", shifted, zero)
        result = builder.fadd(builder.select(positive, shifted, zero), lanes.splat(number))
        store(builder, args, batch, row, column, result, mask)

    c = contraction(a, b)
    result = product(c, gemm.plan(c, machine()), a, b, finish, bias=bias)
    numbers = np.add.outer(np.arange(3), np.arange(21))[:, :, None]
    np.testing.assert_array_equal(result, np.maximum(a @ b + bias, 0) + numbers)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
@pytest.mark.parametrize(("rows", "columns"), [(45, 40), (3, 5), (16, 16), (33, 17)])
def test_pack(lanes, dtype, rows, columns):
    """Of copies, transpositions and what has neither stride 1, the columns that count."""
    rng = np.random.default_rng(0)
    for layout in LAYOUTS:
        memory, view = laid_out(rng, (), rows, columns, layout, dtype)
        shape = Pack(dtype, lanes, columns, *(s // dtype.itemsize for s in view.strides))

        def emit(module, name, shape=shape):
            function, builder = kernel(module, name)
            source, panel = (argument(builder, function.args[0], i) for i in (0, 1))
            pack(builder, shape, source, panel, I64(rows))
            builder.ret_void()

        panel = np.zeros(shape.size(rows), dtype)
        routine = Routine((Step(KernelCode("", emit, 1, 0, 0, 0), ("source", "panel")),))
        panel = run(routine, {"source": memory, "panel": panel})["panel"]
        np.testing.assert_array_equal(panel.reshape(-1, shape.width)[:rows, :columns], view)


@pytest.mark.parametrize("pointers", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(5, 32), (3, 21), (14, 16)])
def test_core_with_segments(pointers, accumulate, rows, columns):
    """C[i, j] (+)= Σ_tk a[i, offset_t + k] · B[t·length + k, j], as convolutions sum over taps."""
    rng = np.random.default_rng(0)
    width, length, offsets = machine().lanes, 7, np.array([3, 0, 40], np.int64)
    a = rng.integers(-4, 5, (rows, 50)).astype(FLOAT)
    b = rng.integers(-4, 5, (3 * length, columns)).astype(FLOAT)
    c = rng.integers(-4, 5, (rows, columns + 1)).astype(FLOAT)
    order = rng.permutation(rows) if pointers else np.arange(rows)
    shape = Core(
        FLOAT, width, rows, columns, None if pointers else 50, 1, columns, True, accumulate
    )

    def emit(module, name):
        function, builder = kernel(module, name)
        left, right, result, table, numbers = (
            argument(builder, function.args[0], i) for i in range(5)
        )
        if pointers:
            pointer, start = ir.PointerType(), left
            left = function.args[2]

            def place(i):
                row = builder.load(at(builder, numbers, I64, i), typ=I64)
                address = at(builder, start, ir.FloatType(), builder.mul(row, I64(50)))
                builder.store(address, at(builder, left, pointer, i))

            repeat(builder, 0, rows, place)
        builder.call(
            core(module, shape), [left, right, result, I64(columns + 1), I64(length), table, I64(3)]
        )
        builder.ret_void()

    step = Step(KernelCode("", emit, 1, 8 * rows, 0, 0), ("a", "b", "c", "offsets", "order"))
    arrays = {"a": a, "b": b, "c": c, "offsets": offsets, "order": order.astype(np.int64)}
    result = run(Routine((step,)), arrays)["c"]
    gathered = np.concatenate([a[order, o : o + length] for o in offsets], axis=1)
    np.testing.assert_array_equal(result[:, :columns], accumulate * c[:, :columns] + gathered @ b)
    np.testing.assert_array_equal(result[:, columns], c[:, columns])


def test_plans():
    """Every block is within C, whatever the shape; equal contractions have equal plans."""
    for m, n, k in itertools.product([1, 7, 64, 500], [1, 10, 64, 2048], [1, 30, 5000]):
        for strides in ((k, 1, n, 1), (k, 1, 1, k), (1, m, n, 1)):
            c = gemm.Contraction(FLOAT, ((4, m * k, 0),), m, n, k, *strides)
            chosen = gemm.plan(c, machine())
            assert chosen == gemm.plan(dataclasses.replace(c), machine())
            assert chosen.rows <= m
            assert chosen.mc % chosen.rows == 0
            assert chosen.tasks >= 1
            assert f"{m}×{n}×{k}" in chosen.describe()
            assert c.flops == 8 * m * n * k
            assert c.bytes == 4 * (4 * m * k + k * n + 4 * m * n)
