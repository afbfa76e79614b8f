"""Conversion between dtypes, with the results of NumPy's astype on x86."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.lanes import F32, I32, I64, Lanes, is_half, register_type


def cast(lanes: Lanes, value: ir.Value, source: np.dtype, target: np.dtype) -> ir.Value:
    """See `Lanes.cast`."""
    if source == target:
        return value
    b, kind = lanes.builder, lanes.type(target)
    from_float = source.kind == "f" or is_half(source)
    if target.kind == "b":
        zero = ir.Constant(value.type, None)
        return b.fcmp_unordered("une", value, zero) if from_float else b.icmp_unsigned(
            "!=", value, zero
        )  # fmt: skip
    if target.kind in "iu":
        if from_float:
            return _to_integer(lanes, value, target)
        if target.itemsize * 8 <= register_type(source).width:
            return b.trunc(value, kind) if kind != value.type else value
        return b.sext(value, kind) if source.kind == "i" else b.zext(value, kind)
    if from_float:
        result = value
        if value.type != kind:
            narrow = register_type(target) == F32
            result = b.fptrunc(value, kind) if narrow else b.fpext(value, kind)
    else:
        result = b.sitofp(value, kind) if source.kind == "i" else b.uitofp(value, kind)
    return lanes.round_to(result, target) if is_half(target) else result


def _to_integer(lanes: Lanes, value: ir.Value, target: np.dtype) -> ir.Value:
    """Truncation as x86 does it: in 32 or 64 bits, of which narrower integers keep the low ones.

    The unsigned take off half of their range above it, as compilers do without AVX-512.
    """
    b = lanes.builder
    element = I64 if target.itemsize == 8 else I32
    bits = element.width
    if target.kind == "u" and target.itemsize >= 4:
        half = _float(lanes, value.type, 2.0 ** (bits - 1))
        above = b.fcmp_ordered(">=", value, half)
        low = _signed(lanes, value, element)
        high = _signed(lanes, b.fsub(value, half), element)
        top = lanes.wide_constant(element, -(2 ** (bits - 1)))
        return b.select(above, b.xor(high, top), low)
    result = _signed(lanes, value, element)
    kind = lanes.type(target)
    return result if result.type == kind else b.trunc(result, kind)


def _signed(lanes: Lanes, value: ir.Value, element: ir.IntType) -> ir.Value:
    """The whole part as a signed integer; the lowest there is where it does not fit, or is NaN."""
    b, limit = lanes.builder, 2.0 ** (element.width - 1)
    above = b.fcmp_ordered(">=", value, _float(lanes, value.type, -limit))
    fits = b.and_(above, b.fcmp_ordered("<", value, _float(lanes, value.type, limit)))
    lowest = lanes.wide_constant(element, -int(limit))
    return b.select(fits, b.fptosi(value, lanes.wide(element)), lowest)


def _float(lanes: Lanes, kind: ir.Type, number: float) -> ir.Constant:
    return lanes.wide_constant(kind.element if lanes.width > 1 else kind, number)
