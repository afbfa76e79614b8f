"""What a kernel maker hands over: code to be emitted, and how it is to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llvmlite import ir

I64 = ir.IntType(64)
POINTER = ir.PointerType()


@dataclass(frozen=True)
class KernelCode:
    """One kernel.

    Attributes:
        key: tells all that the code depends on; equal keys are one function.
        emit: (module, name) -> the function void name(i8** args, i64 task, i8* scratch).
        tasks: how many tasks make the whole, in any order and on any threads.
        scratch: bytes of memory, aligned to 64, that a running task has to itself.
        flops: floating-point operations of all tasks together.
        bytes: what they read and write, together.
    """

    key: str
    emit: Callable[[ir.Module, str], ir.Function]
    tasks: int
    scratch: int
    flops: int
    bytes: int


@dataclass(frozen=True)
class Step:
    """A kernel and the names of its arguments: operands, results and buffers of the routine."""

    code: KernelCode
    args: tuple[str, ...]


@dataclass(frozen=True)
class Routine:
    """Kernels that run one after another, and the bytes of the buffers that live between them.

    What a `finish` reads or writes is not among a step's args; it follows after them.
    """

    steps: tuple[Step, ...]
    buffers: Mapping[str, int] = field(default_factory=dict)


def kernel(module: ir.Module, name: str) -> tuple[ir.Function, ir.IRBuilder]:
    """A kernel's empty function, and a builder at its start."""
    kinds = [POINTER, I64, POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.attributes.add("nounwind")
    return function, ir.IRBuilder(function.append_basic_block())


def internal(
    module: ir.Module, name: str, kinds: list[ir.Type]
) -> tuple[ir.Function, ir.IRBuilder | None]:
    """A function that kernels of a module share; without a builder where it is there already.

    The name tells all that the code depends on: kernels of other shapes share the module.
    """
    found = module.globals.get(name)
    if found is not None:
        return found, None
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function, ir.IRBuilder(function.append_basic_block())


def argument(builder: ir.IRBuilder, args: ir.Value, number: int) -> ir.Value:
    """A kernel's argument: a pointer to an operand's first element."""
    place = builder.gep(args, [I64(number)], inbounds=True, source_etype=POINTER)
    return builder.load(place, typ=POINTER)


def constants(module: ir.Module, name: str, values: tuple[int, ...]) -> ir.Value:
    """A pointer to integers that lie in the code as a table."""
    found = module.globals.get(name)
    if found is None:
        kind = ir.ArrayType(I64, len(values))
        found = ir.GlobalVariable(module, kind, name)
        found.initializer = ir.Constant(kind, list(values))
        found.global_constant = True
        found.linkage = "internal"
    return found


def aligned(size: int) -> int:
    """A size in bytes rounded up, so that what follows starts at a multiple of 64."""
    return -(-size // 64) * 64
