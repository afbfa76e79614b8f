"""The kernels of attention against PyTorch in float64, values and cotangents."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from chainrule.compile.arena import arena
from chainrule.compile.emit.attention import attention, attention_gradient
from chainrule.compile.emit.attention_form import Attention, Operand
from chainrule.compile.emit.lanes import Unsupported
from chainrule.compile.machine import machine
from tests.compile.running import compile_module

BEYOND = 12345.0  # marks memory that is not to be written to


def run(code, arrays):
    """All tasks of a kernel, newest first, in memory with guards around it."""
    module = ir.Module("attention")
    code.emit(module, "kernel")
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    kernel = signature(compile_module(module).get_function_address("kernel"))
    scratch = arena(code.scratch, guarded=True)
    scratch[:] = 0xFF  # NaN, wherever it is read before it is written
    places = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
    for task in reversed(range(code.tasks)):
        kernel(ctypes.addressof(places), task, scratch.ctypes.data)


def laid_out(values, layout):
    """The same values with their elements in another order in memory, up to its guarded end."""
    axes = list(range(values.ndim))
    if layout == "heads inside" and values.ndim > 2:
        axes[-2], axes[-3] = axes[-3], axes[-2]
    elif layout == "columns first":
        axes[-1], axes[-2] = axes[-2], axes[-1]
    shape = [values.shape[a] for a in axes]
    if layout == "sparse":
        shape = [n * 2 for n in shape]
    size = int(np.prod(shape)) * values.itemsize
    whole = arena(size, guarded=True)[:size].view(values.dtype).reshape(shape)
    whole[...] = True if values.dtype == bool else BEYOND
    view = whole[tuple(slice(None, None, 2) for _ in shape)] if layout == "sparse" else whole
    view = view.transpose(np.argsort(axes))
    view[...] = values
    return view, whole


def operand(array, shape):
    spread = np.broadcast_to(array, shape)
    *batch, row, column = (s // array.itemsize for s in spread.strides)
    return Operand(tuple(batch), row, column, array.dtype)


LAYOUTS = ["plain", "heads inside", "columns first", "sparse"]


def case(batch, lengths, sizes, dtype=np.float32, mask=None, p=0.0, causal=False, layout="plain"):
    """(the attention, its arrays by name) for random operands."""
    rng = np.random.default_rng(0)
    (n, m), (e, u) = lengths, sizes
    shapes = {"q": (n, e), "k": (m, e), "v": (m, u), "y": (n, u), "g": (n, u)}
    values = {
        name: rng.standard_normal((*batch, *shape)).astype(dtype) for name, shape in shapes.items()
    }
    if mask == "boolean":
        values["mask"] = rng.random((n, m)) < 0.7
        values["mask"][0] = False
    elif mask == "added":
        values["mask"] = rng.standard_normal((*batch[:1], *(1 for _ in batch[1:]), n, m))
        values["mask"] = values["mask"].astype(dtype)
    elif mask == "of keys":
        values["mask"] = rng.random((1, m)) < 0.7
    if p:
        values["keep"] = rng.random((*batch, n, m)) > p
    arrays = {name: laid_out(value, layout) for name, value in values.items()}
    full = {**shapes, "mask": (n, m), "keep": (n, m)}
    operands = {name: operand(a, (*batch, *full[name])) for name, (a, _) in arrays.items()}
    form = Attention(batch, n, m, e, u, **operands, is_causal=causal, scale=0.4, p=p)
    return form, arrays


def theirs(form, arrays):
    """(y, the flat cotangents) by PyTorch's own differentiation."""
    t = {
        name: torch.tensor(a.copy(), dtype=torch.float64 if a.dtype != bool else torch.bool)
        for name, (a, _) in arrays.items()
    }
    leaves = [t[name].requires_grad_() for name in "qkv"]
    scores = t["q"] @ t["k"].mT * form.scale
    allowed = torch.ones(form.queries, form.keys, dtype=torch.bool)
    if form.is_causal:
        allowed = allowed.tril()
    if form.mask is not None:
        if form.mask.dtype == bool:
            allowed = allowed & t["mask"]
        else:
            scores = scores + t["mask"]
    allowed = allowed.expand(scores.shape)
    none = ~allowed.any(-1, keepdim=True)
    weights = scores.masked_fill(~allowed & ~none, -np.inf).softmax(-1).masked_fill(none, 0)
    if form.keep is not None:
        weights = weights * t["keep"] / (1 - form.p)
    y = weights @ t["v"]
    found = torch.autograd.grad(y, leaves, t["g"])
    return y.detach().numpy(), np.concatenate([d.numpy().ravel() for d in found])


def compare(form, arrays, on=None):
    on = on or machine()
    wanted, cotangents = theirs(form, arrays)
    eps = 20 * np.finfo(form.q.dtype).eps
    beside = [arrays[name][0] for name in ("mask", "keep") if name in arrays]
    q, k, v, g, y = (arrays[name][0] for name in "qkvgy")
    y[...] = np.nan
    run(attention(form, on), [q, k, v, *beside, y])
    np.testing.assert_allclose(y, wanted, eps, eps * (1 + np.abs(wanted).max()))
    flat = arena(cotangents.size * y.itemsize, guarded=True)[: cotangents.size * y.itemsize]
    flat = flat.view(y.dtype)
    flat[:] = np.nan
    run(attention_gradient(form, on), [g, q, k, v, *beside, flat])
    np.testing.assert_allclose(flat, cotangents, eps, eps * (1 + np.abs(cotangents).max()))
    for view, whole in arrays.values():
        if view.size < whole.size and view.dtype != bool:
            assert np.count_nonzero(whole == BEYOND) >= whole.size - view.size


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("batch", "lengths", "sizes"),
    [
        ((2, 3), (64, 64), (32, 32)),
        ((), (1, 1), (1, 1)),
        ((1,), (1, 50), (8, 8)),
        ((2,), (50, 1), (3, 5)),
        ((1, 2), (70, 33), (17, 40)),
        ((3,), (33, 70), (40, 17)),
        ((1,), (150, 150), (64, 64)),
        ((1,), (13, 13), (256, 256)),
    ],
)
def test_sizes(batch, lengths, sizes, causal):
    compare(*case(batch, lengths, sizes, causal=causal))


def test_long_sequences_fall_into_blocks():
    compare(*case((1,), (700, 1200), (8, 8), causal=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, dtype):
    compare(*case((2, 2), (35, 40), (20, 12), dtype, "boolean", 0.3, True, layout))


@pytest.mark.parametrize("mask", [None, "boolean", "added", "of keys"])
@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize("causal", [False, True])
def test_masks_and_dropout(mask, p, causal):
    compare(*case((2, 2), (30, 45), (16, 8), mask=mask, p=p, causal=causal))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("bits", "registers"), [(128, 32), (256, 16)])
def test_vectors_of_other_machines(bits, registers, dtype):
    other = replace(machine(), vector_bits=bits, lanes=bits // 32, vector_registers=registers)
    compare(*case((2,), (21, 30), (12, 10), dtype, "boolean", 0.3, True, "heads inside"), other)


@given(
    batch=st.sampled_from([(), (1,), (2, 1)]),
    lengths=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mask=st.sampled_from([None, "boolean", "added"]),
    p=st.sampled_from([0.0, 0.5]),
    causal=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_any_sizes(batch, lengths, sizes, mask, p, causal, layout):
    compare(*case(batch, lengths, sizes, np.float32, mask, p, causal, layout))


def test_values_that_are_not_finite_come_out_in_their_rows():
    form, arrays = case((1,), (40, 40), (8, 8), causal=True)
    q, k, v, y = (arrays[name][0] for name in "qkvy")
    q[0, 5, 2], q[0, 20, 1] = np.nan, np.inf
    run(attention(form, machine()), [q, k, v, y])
    lost = np.isnan(y).all(-1)[0]
    np.testing.assert_array_equal(np.flatnonzero(lost), [5, 20])
    assert np.isfinite(np.delete(y[0], [5, 20], 0)).all()


def test_scores_of_any_size_are_weighed():
    form, arrays = case((1,), (20, 20), (4, 4))
    q = arrays["q"][0]
    for factor in (1e4, 1e-30, 0.0):
        q *= np.float32(factor)
        compare(form, arrays)


def test_what_is_left_to_others_is_said():
    form, _ = case((2,), (4, 4), (4, 4))
    half = Operand((0,), 4, 1, np.dtype(np.float16))
    with pytest.raises(Unsupported, match="float16"):
        attention(Attention((2,), 4, 4, 4, 4, half, half, half, half), machine())
    spread = Operand((0,), 4, 1, np.dtype(np.float32))
    shared = Attention((2,), 4, 4, 4, 4, form.q, spread, form.v, form.y, form.g)
    attention(shared, machine())
    with pytest.raises(Unsupported, match="broadcast"):
        attention_gradient(shared, machine())
    with pytest.raises(Unsupported, match="elements"):
        attention(Attention((0,), 4, 4, 4, 4, form.q, form.k, form.v, form.y), machine())
