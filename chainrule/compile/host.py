"""Operations without native code: NumPy's forward, called back from between the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from chainrule.compile.emit.kernel import KernelCode
from chainrule.compile.kernels import Kernel
from chainrule.compile.lower import CONSTANT, Item
from chainrule.compile.nests import place
from chainrule.compile.rules import are_arrays
from chainrule.compile.views import View
from chainrule.tensor.graph import recording

SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int64, ctypes.c_void_p)


def host_kernel(item: Item) -> Kernel:
    """The step of a program that calls NumPy; see `callback`."""
    args: list[Any] = []
    for arg in item.args:
        if arg.kind != CONSTANT:
            assert arg.view is not None
            args.append(place(arg.view))
    assert item.view is not None
    args.append(place(item.view))
    flops, moved = item.node.op.cost(item.node)
    code = KernelCode("host", lambda *_: None, 1, 0, flops, moved)
    read = [arg.view.buffer for arg in item.args if arg.kind != CONSTANT and arg.view is not None]
    return Kernel(code, args, read, [item.view.buffer], [item], f"NumPy {item.name}")


def callback(item: Item, failed: Callable[[BaseException], None]) -> Any:
    """A C function that computes an item by its operation's forward."""
    node = item.node
    arrays = are_arrays(node)
    given = iter(item.args)
    operands = [None if n is None else next(given) for n in node.inputs]

    def run(args: Any, task: int, scratch: int) -> None:
        try:
            number = 0
            values: list[Any] = []
            for operand, array in zip(operands, arrays, strict=True):
                if operand is None:
                    values.append(None)
                elif operand.kind == CONSTANT:
                    whole = np.full(operand.shape, operand.data).astype(operand.dtype)
                    values.append(whole if array else operand.data)
                else:
                    assert operand.view is not None
                    values.append(_array(args[number], operand.view))
                    number += 1
            with recording(0), np.errstate(all="ignore"):
                value, _ = node.op.run(values, node.attrs)
            assert item.view is not None
            _array(args[number], item.view)[...] = value
        except BaseException as error:  # it cannot pass through native code
            failed(error)

    return SIGNATURE(run)


def _array(address: int, view: View) -> np.ndarray:
    """The array that a view is, its first element at an address."""
    itemsize = view.dtype.itemsize
    if 0 in view.shape:
        return np.empty(view.shape, view.dtype)
    raw = (ctypes.c_uint8 * itemsize).from_address(address)
    first = np.ctypeslib.as_array(raw).view(view.dtype)
    return as_strided(first, view.shape, [stride * itemsize for stride in view.strides])
