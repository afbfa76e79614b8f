"""Lanes: LLVM code that works on `width` numbers at a time.

A value is an LLVM vector of `width` elements, or a plain scalar where width is 1. In registers a
boolean is one bit, and float16 and bfloat16 are float32, rounded to their own precision after
every operation; in memory a boolean is a byte and a half-precision number two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
_UNALIGNED = 1


class Unsupported(Exception):  # noqa: N818 - it asks for another way, and tells of no mistake
    """There is no native code for this operation on this dtype."""


@cache
def register_type(dtype: np.dtype) -> ir.Type:
    """The LLVM type of one element in a register."""
    if dtype.kind == "b":
        return I1
    if dtype.kind in "iu":
        return ir.IntType(8 * dtype.itemsize)
    if is_half(dtype):
        return F32
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return F32 if dtype.itemsize == 4 else F64
    raise Unsupported(f"numbers of dtype {dtype}")


@cache
def memory_type(dtype: np.dtype) -> ir.Type:
    """The LLVM type of one element in memory."""
    if dtype.kind == "b":
        return I8
    return I16 if is_half(dtype) else register_type(dtype)


@cache
def is_half(dtype: np.dtype) -> bool:
    return dtype.name in ("float16", "bfloat16")


class Splat(ir.Constant):
    """The same number in every lane of a vector, in LLVM's short form."""

    def _get_reference(self) -> str:
        return f"splat ({self.constant[0]})"


class Lanes:
    """Emits operations on `width` numbers at a time at a builder's place.

    Args:
        builder: where to emit; operations may leave it in a later basic block.
        width: how many numbers a value has; 1 means plain scalars.
    """

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder, self.width = builder, width

    # Types and constants

    def wide(self, element: ir.Type) -> ir.Type:
        return element if self.width == 1 else ir.VectorType(element, self.width)

    def type(self, dtype: np.dtype) -> ir.Type:
        """The type in registers of values of a dtype."""
        return self.wide(register_type(dtype))

    def memory_type(self, dtype: np.dtype) -> ir.Type:
        """The type in memory of one element."""
        return memory_type(dtype)

    def constant(self, value: Any, dtype: np.dtype) -> ir.Constant:
        """The same number, rounded to the dtype, in every lane."""
        with np.errstate(over="ignore"):
            number = np.asarray(value).astype(dtype).item()
        return self.wide_constant(register_type(dtype), number)

    def wide_constant(self, element: ir.Type, number: Any) -> ir.Constant:
        return (ir.Constant if self.width == 1 else Splat)(self.wide(element), number)

    def splat(self, scalar: ir.Value, dtype: np.dtype | None = None) -> ir.Value:
        """One register value in every lane."""
        if self.width == 1:
            return scalar
        blank = ir.Constant(self.wide(scalar.type), ir.Undefined)
        first = self.builder.insert_element(blank, scalar, I32(0))
        return self.builder.shuffle_vector(first, blank, _indices([0] * self.width))

    def iota(self, dtype: np.dtype) -> ir.Constant:
        """0, 1, 2, …, one a lane."""
        if self.width == 1:
            return self.constant(0, dtype)
        element = register_type(dtype)
        return ir.Constant(self.wide(element), [element(i) for i in range(self.width)])

    # Memory

    def load(self, pointer: ir.Value, dtype: np.dtype, mask: ir.Value | None = None) -> ir.Value:
        """The elements from `pointer` on; 0 where the mask is false, whose memory is not read."""
        kind = self.wide(memory_type(dtype))
        if mask is None:
            raw = self.builder.load(pointer, align=_UNALIGNED, typ=kind)
        else:
            few = self._vector(kind)
            zero, ones = ir.Constant(few, None), self._as_vector(mask)
            raw = self._scalar(self._masked("load", few, [pointer, I32(_UNALIGNED), ones, zero]))
        return self._from_memory(raw, dtype)

    def store(
        self, value: ir.Value, pointer: ir.Value, dtype: np.dtype, mask: ir.Value | None = None
    ) -> None:
        """Writes the lanes from `pointer` on, those alone whose mask is true."""
        raw = self._to_memory(value, dtype)
        if mask is None:
            pointer = self.builder.bitcast(pointer, raw.type.as_pointer())
            self.builder.store(raw, pointer, align=_UNALIGNED)
        else:
            few, ones = self._as_vector(raw), self._as_vector(mask)
            self._masked("store", None, [few, pointer, I32(_UNALIGNED), ones])

    def gather(
        self, base: ir.Value, index: ir.Value, dtype: np.dtype, mask: ir.Value | None = None
    ) -> ir.Value:
        """The elements at base + index, an int64 for each lane; 0 where the mask is false."""
        if self.width == 1 and mask is None:
            kind = memory_type(dtype)
            raw = self.builder.load(self._address(base, index, dtype), align=_UNALIGNED, typ=kind)
            return self._from_memory(raw, dtype)
        few = self._vector(self.wide(memory_type(dtype)))
        places, ones = self._addresses(base, index, dtype), self._mask(mask)
        zero = ir.Constant(few, None)
        align = I32(dtype.itemsize)
        raw = self._scalar(self._masked("gather", few, [places, align, ones, zero]))
        return self._from_memory(raw, dtype)

    def scatter(
        self,
        value: ir.Value,
        base: ir.Value,
        index: ir.Value,
        dtype: np.dtype,
        mask: ir.Value | None = None,
    ) -> None:
        """Writes each lane to base + its index; of equal indices, the last lane's value stays."""
        raw = self._to_memory(value, dtype)
        if self.width == 1 and mask is None:
            place = self._address(base, index, dtype)
            self.builder.store(raw, place, align=_UNALIGNED)
            return
        places, few = self._addresses(base, index, dtype), self._as_vector(raw)
        self._masked("scatter", None, [few, places, I32(dtype.itemsize), self._mask(mask)])

    def load_strided(
        self, pointer: ir.Value, stride: ir.Value, dtype: np.dtype, mask: ir.Value | None = None
    ) -> ir.Value:
        """Elements that lie `stride` (an i64, counted in elements) apart."""
        steps = self.builder.mul(self.iota(np.dtype(np.int64)), self.splat(stride))
        return self.gather(pointer, steps, dtype, mask)

    def store_strided(
        self,
        value: ir.Value,
        pointer: ir.Value,
        stride: ir.Value,
        dtype: np.dtype,
        mask: ir.Value | None = None,
    ) -> None:
        """Writes to elements that lie `stride` (an i64, counted in elements) apart."""
        steps = self.builder.mul(self.iota(np.dtype(np.int64)), self.splat(stride))
        self.scatter(value, pointer, steps, dtype, mask)

    def mask_first(self, count: ir.Value) -> ir.Value:
        """True in the lanes below `count`, an i64."""
        b = self.builder
        if self.width == 1:
            return b.icmp_signed(">", count, I64(0))
        full = I64(self.width)
        few = b.trunc(b.select(b.icmp_signed("<", count, full), count, full), I32)
        return b.icmp_signed("<", self.iota(np.dtype(np.int32)), self.splat(few))

    def _from_memory(self, raw: ir.Value, dtype: np.dtype) -> ir.Value:
        b = self.builder
        if dtype.kind == "b":
            return b.icmp_unsigned("!=", raw, ir.Constant(raw.type, None))
        if dtype.name == "float16":
            return b.fpext(b.bitcast(raw, self.wide(F16)), self.wide(F32))
        if dtype.name == "bfloat16":
            high = b.shl(b.zext(raw, self.wide(I32)), self.wide_constant(I32, 16))
            return b.bitcast(high, self.wide(F32))
        return raw

    def _to_memory(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        b = self.builder
        if dtype.kind == "b":
            return b.zext(value, self.wide(I8))
        if dtype.name == "float16":
            return b.bitcast(b.fptrunc(value, self.wide(F16)), self.wide(I16))
        if dtype.name == "bfloat16":
            bits = b.bitcast(self.round_to(value, dtype), self.wide(I32))
            return b.trunc(b.lshr(bits, self.wide_constant(I32, 16)), self.wide(I16))
        return value

    def round_to(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        """A float32 rounded to the precision of float16 or bfloat16, halves to even."""
        b = self.builder
        if dtype.name == "float16":
            return b.fpext(b.fptrunc(value, self.wide(F16)), self.wide(F32))
        word = self.wide(I32)
        bits = b.bitcast(value, word)
        odd = b.and_(b.lshr(bits, self.wide_constant(I32, 16)), self.wide_constant(I32, 1))
        near = b.add(bits, b.add(odd, self.wide_constant(I32, 0x7FFF)))
        quiet = b.or_(bits, self.wide_constant(I32, 0x400000))
        nan = b.fcmp_unordered("uno", value, value)
        kept = b.and_(b.select(nan, quiet, near), self.wide_constant(I32, 0xFFFF0000))
        return b.bitcast(kept, self.wide(F32))

    def _masked(self, name: str, result: ir.Type | None, args: list[ir.Value]) -> ir.Value:
        kind = args[0].type if result is None else result
        suffix = f".{mangled(kind)}.p0"
        if name in ("gather", "scatter"):
            suffix = f".{mangled(kind)}.v{kind.count}p0"
        return self.call(f"llvm.masked.{name}{suffix}", result or ir.VoidType(), args)

    def _address(self, base: ir.Value, index: ir.Value, dtype: np.dtype) -> ir.Value:
        kind = memory_type(dtype)
        return self.builder.gep(self.builder.bitcast(base, kind.as_pointer()), [index])

    def _addresses(self, base: ir.Value, index: ir.Value, dtype: np.dtype) -> ir.Value:
        b = self.builder
        start = self._as_vector(self.splat(b.ptrtoint(base, I64)))
        index = self._as_vector(index)
        step = ir.Constant(index.type, [dtype.itemsize] * self.width)
        places = b.add(start, b.mul(index, step))
        return b.inttoptr(places, ir.VectorType(ir.PointerType(), self.width))

    # A scalar in the one lane of a vector, which is what LLVM's masked operations take.

    def _vector(self, kind: ir.Type) -> ir.VectorType:
        return kind if isinstance(kind, ir.VectorType) else ir.VectorType(kind, 1)

    def _as_vector(self, value: ir.Value) -> ir.Value:
        if self.width > 1:
            return value
        blank = ir.Constant(ir.VectorType(value.type, 1), ir.Undefined)
        return self.builder.insert_element(blank, value, I32(0))

    def _scalar(self, value: ir.Value) -> ir.Value:
        return value if self.width > 1 else self.builder.extract_element(value, I32(0))

    def _mask(self, mask: ir.Value | None) -> ir.Value:
        if mask is not None:
            return self._as_vector(mask)
        return ir.Constant(ir.VectorType(I1, self.width), [1] * self.width)

    # Calls

    def call(self, name: str, result: ir.Type, args: Sequence[ir.Value]) -> ir.Value:
        """A call of a function by its name, declared where it is not."""
        found = self.builder.module.globals.get(name)
        if found is None:
            signature = ir.FunctionType(result, [a.type for a in args])
            found = ir.Function(self.builder.module, signature, name)
        return self.builder.call(found, args)

    def intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        """LLVM's function of this name from values of one type to that type."""
        return self.call(f"llvm.{name}.{mangled(args[0].type)}", args[0].type, args)

    def outlined(
        self, name: str, args: Sequence[ir.Value], body: Callable[..., ir.Value]
    ) -> ir.Value:
        """A call of body(lanes, *args) as a function of its own: for what is long and rare."""
        full = f"{name}.{self.width}." + ".".join(mangled(a.type) for a in args)
        found = self.builder.module.globals.get(full)
        if found is None:
            kinds = [a.type for a in args]
            found = ir.Function(self.builder.module, ir.FunctionType(kinds[0], kinds), full)
            found.linkage = "internal"
            found.attributes.add("noinline")
            inner = ir.IRBuilder(found.append_basic_block("entry"))
            inner.ret(body(Lanes(inner, self.width), *found.args))
        return self.builder.call(found, args)

    def lane_by_lane(self, name: str, args: Sequence[ir.Value]) -> ir.Value:
        """The C library's function of this name, called for one lane after another."""
        b, kind = self.builder, args[0].type
        if self.width == 1:
            return self.call(name, kind, args)
        result = ir.Constant(kind, ir.Undefined)
        for i in range(self.width):
            one = self.call(name, kind.element, [b.extract_element(a, I32(i)) for a in args])
            result = b.insert_element(result, one, I32(i))
        return result

    def any(self, mask: ir.Value) -> ir.Value:
        """Whether any lane is true, as an i1."""
        return self.reduce_or(mask)

    @contextmanager
    def rarely(self, mask: ir.Value) -> Iterator[None]:
        """Code that runs only where some lane is true, which is not expected."""
        with self.builder.if_then(self.any(mask), likely=False):
            yield

    def replaced(
        self, mask: ir.Value, usual: ir.Value, unusual: Callable[[], ir.Value]
    ) -> ir.Value:
        """`usual`, but unusual() in the lanes of the mask, run only where there are any."""
        before = self.builder.block
        with self.rarely(mask):
            chosen = self.select(mask, unusual(), usual)
            after = self.builder.block
        result = self.builder.phi(usual.type)
        result.add_incoming(usual, before)
        result.add_incoming(chosen, after)
        return result

    # Choosing and fused multiplication

    def select(self, mask: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        """a where the mask is true, else b."""
        return self.builder.select(mask, a, b)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a · b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    # Conversion

    def cast(self, value: ir.Value, source: np.dtype, target: np.dtype) -> ir.Value:
        """As NumPy's astype on x86, out of range too, where C leaves the result open."""
        from chainrule.compile.emit.casting import cast

        return cast(self, value, source, target)

    # Over the lanes of one value, in halves: the order is fixed, and errors grow with log₂ width.

    def reduce(self, name: str, value: ir.Value, dtype: np.dtype) -> ir.Value:
        """An elementwise operation of two operands over all lanes: a scalar in registers."""
        width, lanes = self.width, self
        while width > 1:
            width //= 2
            blank = ir.Constant(value.type, ir.Undefined)
            low = self.builder.shuffle_vector(value, blank, _indices(range(width)))
            high = self.builder.shuffle_vector(value, blank, _indices(range(width, 2 * width)))
            lanes = Lanes(self.builder, width)
            if width == 1:
                low = self.builder.extract_element(low, I32(0))
                high = self.builder.extract_element(high, I32(0))
            value = lanes.elementwise(name, [low, high], dtype)
        return value

    def reduce_add(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        return self.reduce("add", value, dtype)

    def reduce_multiply(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        return self.reduce("multiply", value, dtype)

    def reduce_max(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        return self.reduce("maximum", value, dtype)

    def reduce_min(self, value: ir.Value, dtype: np.dtype) -> ir.Value:
        return self.reduce("minimum", value, dtype)

    def reduce_and(self, mask: ir.Value) -> ir.Value:
        if self.width == 1:
            return mask
        return self.call(f"llvm.vector.reduce.and.{mangled(mask.type)}", I1, [mask])

    def reduce_or(self, mask: ir.Value) -> ir.Value:
        if self.width == 1:
            return mask
        return self.call(f"llvm.vector.reduce.or.{mangled(mask.type)}", I1, [mask])

    # Operations

    def elementwise(
        self, operation: str | Callable[..., Any], args: Sequence[ir.Value], dtype: np.dtype
    ) -> ir.Value:
        """An elementwise operation on operands of the dtype that it is computed in.

        Args:
            operation: its name, or a function of lanes and `Vector`s.
            args: the operands, already of that dtype.
            dtype: theirs.
        """
        from chainrule.compile.emit.elementwise import apply

        return apply(self, operation, args, dtype)


def mangled(kind: ir.Type) -> str:
    """A type as LLVM writes it in the names of its functions: v16f32."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{mangled(kind.element)}"
    if isinstance(kind, ir.IntType):
        return f"i{kind.width}"
    return {F16: "f16", F32: "f32", F64: "f64"}[kind]


def _indices(places: Sequence[int] | range) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(places)), list(places))
