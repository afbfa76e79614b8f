"""Convolution kernels against PyTorch in float64: odd sizes, ragged channels, every attribute."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from chainrule.compile.emit.convolution import forward, input_gradient
from chainrule.compile.emit.gemm import store_to
from chainrule.compile.emit.kernel import argument
from chainrule.compile.emit.lanes import Lanes, memory_type
from chainrule.compile.emit.loops import at
from chainrule.compile.emit.slide import Convolution
from chainrule.compile.emit.weight_gradient import weight_gradient
from chainrule.compile.machine import machine
from tests.compile.routines import run

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def last(x):
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def case(of, seed=0):
    """x, the weight and g as they are in PyTorch, and its y, ∂x and ∂weight in float64."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((of.images, of.channels, *of.size)).astype(of.dtype)
    each = of.channels // of.groups
    weight = rng.standard_normal((of.outputs, each, *of.kernel)).astype(of.dtype)
    g = rng.standard_normal((of.images, of.outputs, *of.places)).astype(of.dtype)
    (top, bottom), (left, right) = of.padding
    a, w = (torch.tensor(v.astype(np.float64), requires_grad=True) for v in (x, weight))
    y = torch.nn.functional.conv2d(
        torch.nn.functional.pad(a, (left, right, top, bottom)), w,
        stride=of.stride, dilation=of.dilation, groups=of.groups,
    )  # fmt: skip
    y.backward(torch.tensor(g.astype(np.float64)))
    return (x, weight, g), (y.detach().numpy(), a.grad.numpy(), w.grad.numpy())


def plain(sizes, channels):
    """A finish that stores images of these sizes."""
    return store_to(2, (sizes[0] * sizes[1] * channels, channels, 1)), "plain"


def close(found, wanted, terms):
    scale = np.finfo(found.dtype).eps * (8 + terms)
    np.testing.assert_allclose(found, wanted, scale, scale)


def check(of, on=None):
    on = on or machine()
    (x, weight, g), (y, dx, dw) = case(of)
    result = np.full(last(y).shape, np.nan, of.dtype)
    routine = forward(of, on, *plain(of.places, of.outputs))
    found = run(routine, {"x": last(x), "weight": weight, "y": result}, ("y",))["y"]
    close(found, last(y), of.taps)
    result = np.full(last(x).shape, np.nan, of.dtype)
    routine = input_gradient(of, on, *plain(of.size, of.channels))
    found = run(routine, {"g": last(g), "weight": weight, "dx": result}, ("dx",))["dx"]
    close(found, last(dx), of.taps * of.outputs)
    result = np.full(dw.shape, np.nan, of.dtype)
    routine = weight_gradient(of, on)
    found = run(routine, {"x": last(x), "g": last(g), "dw": result})["dw"]
    close(found, dw, of.images * np.prod(of.places))


BASE = Convolution(FLOAT, 2, (9, 11), 5, 7, (3, 3), padding=((1, 1), (1, 1)))
CASES = {
    "padded": {},
    "float64": {"dtype": DOUBLE},
    "without padding": {"padding": ((0, 0), (0, 0))},
    "one channel": {"channels": 1, "outputs": 32, "size": (28, 28)},
    "one output": {"outputs": 1},
    "whole vectors": {"channels": 32, "outputs": 64, "size": (14, 14)},
    "more strips, the last one ragged": {"channels": 16, "outputs": 150, "images": 1},
    "many channels": {"channels": 70, "outputs": 16, "size": (7, 7), "images": 3},
    "a window that is one pixel": {"kernel": (1, 1), "padding": ((0, 0), (0, 0))},
    "a window that is the image": {"kernel": (9, 11), "padding": ((0, 0), (0, 0))},
    "an even window, uneven padding": {"kernel": (2, 4), "padding": ((0, 1), (2, 1))},
    "strided": {"stride": (2, 3)},
    "strided, without padding": {"stride": (2, 2), "padding": ((0, 0), (0, 0))},
    "strided further than the window": {"kernel": (2, 1), "stride": (3, 2)},
    "dilated": {"dilation": (2, 3), "padding": ((2, 2), (3, 3))},
    "more padding than the window": {"kernel": (2, 2), "padding": ((3, 2), (2, 4))},
    "groups": {"channels": 6, "outputs": 9, "groups": 3},
    "depthwise": {"channels": 20, "outputs": 20, "groups": 20, "images": 1},
    "groups of more than a strip": {"channels": 4, "outputs": 140, "groups": 2},
    "everything": {
        "channels": 6, "outputs": 4, "groups": 2, "stride": (2, 1), "dilation": (1, 2),
        "kernel": (3, 2), "padding": ((1, 0), (0, 2)), "dtype": DOUBLE,
    },
    "a tall image": {"size": (200, 3), "images": 1, "channels": 24, "outputs": 24},
    "many blocks of rows": {"size": (70, 64), "images": 1, "channels": 64, "outputs": 32},
    "no image": {"images": 0},
    "small images together": {"images": 50, "size": (3, 4), "channels": 20},
    "small images together, without a frame": {
        "images": 37, "size": (4, 3), "padding": ((0, 0), (0, 0)), "kernel": (2, 2),
    },
    "small images together, strided": {"images": 35, "size": (5, 5), "stride": (2, 2)},
    "one place": {"size": (3, 3), "padding": ((0, 0), (0, 0)), "images": 9},
}  # fmt: skip


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_against_pytorch(changes):
    check(dataclasses.replace(BASE, **changes))


@st.composite
def convolutions(draw):
    def two(low, high):
        number = st.integers(low, high)
        return draw(number), draw(number)

    kernel, dilation, padding = two(1, 4), two(1, 2), (two(0, 2), two(0, 2))
    least = [
        max(1, d * (k - 1) + 1 - sum(p))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]  # fmt: skip
    size = tuple(n + draw(st.integers(0, 20)) for n in least)
    groups = draw(st.integers(1, 3))
    return Convolution(
        draw(st.sampled_from([FLOAT, DOUBLE])), draw(st.integers(0, 3)), size,
        groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 40)), kernel,
        two(1, 3), padding, dilation, groups,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(convolutions())
def test_any_convolution_against_pytorch(of):
    check(of)


@pytest.mark.parametrize(("bits", "registers"), [(256, 16), (128, 32)])
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
def test_with_the_vectors_of_another_machine(bits, registers, dtype):
    other = dataclasses.replace(
        machine(), vector_bits=bits, lanes=bits // 32, vector_registers=registers
    )
    check(dataclasses.replace(BASE, channels=10, outputs=21, dtype=dtype), other)


def test_finish_sees_every_value_once_with_its_place():
    """An epilogue that adds to memory would show a value that comes twice."""
    of = dataclasses.replace(BASE, size=(23, 31), outputs=37)
    (x, weight, _), (y, _, _) = case(of)
    bias = np.arange(of.outputs, dtype=FLOAT)
    height, width = of.places

    def add_relu(b, args, batch, row, column, value, mask):
        lanes, element = Lanes(b, value.type.count), memory_type(of.dtype)
        place = b.add(b.mul(batch[0], ir.IntType(64)(height * width)), row)
        place = b.add(b.mul(place, ir.IntType(64)(of.outputs)), column)
        there = at(b, argument(b, args, 3), element, place)
        shift = lanes.load(at(b, argument(b, args, 2), element, column), of.dtype, mask)
        value = lanes.elementwise("relu", [b.fadd(value, shift)], of.dtype)
        lanes.store(b.fadd(lanes.load(there, of.dtype, mask), value), there, of.dtype, mask)

    arrays = {"x": last(x), "weight": weight, "bias": bias, "y": np.ones(last(y).shape, FLOAT)}
    found = run(forward(of, machine(), add_relu, "bias relu"), arrays, ("bias", "y"))["y"]
    close(found, 1 + np.maximum(last(y) + bias, 0), of.taps)


def test_tasks_and_bits_do_not_depend_on_the_order():
    of = dataclasses.replace(BASE, images=40, channels=16, outputs=40)
    (x, _, g), _ = case(of)
    routine = weight_gradient(of, machine())
    assert routine.steps[0].code.tasks > 1
    arrays = {"x": last(x), "g": last(g), "dw": np.zeros((40, 16, 3, 3), FLOAT)}
    first, second = (run(routine, arrays, seed=seed)["dw"] for seed in (1, 2))
    assert first.tobytes() == second.tobytes()


def test_equal_convolutions_have_equal_keys_and_others_not():
    keys = {
        step.code.key
        for changes in CASES.values()
        for of in [dataclasses.replace(BASE, **changes)]
        for routine in (
            forward(of, machine(), *plain(of.places, of.outputs)),
            input_gradient(of, machine(), *plain(of.size, of.channels)),
            weight_gradient(of, machine()),
        )
        for step in routine.steps
    }
    assert len(keys) == 6 * len(CASES)
