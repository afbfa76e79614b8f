"""Runs what lanes emit: a loop over arrays, compiled for this machine."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from chainrule.compile.emit.lanes import I8, I64, Lanes

_engines = []
_numbers = itertools.count()


def compile_module(module: ir.Module, optimise: int = 2) -> Any:
    """An engine that holds the module's machine code; it stays alive with the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=optimise
    )
    passes = llvm.create_pass_builder(machine, llvm.PipelineTuningOptions(speed_level=optimise))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append((engine, parsed))
    return engine


def over_arrays(
    body: Callable[..., ir.Value],
    sources: list[Any],
    target: Any,
    width: int = 16,
    masked: bool = True,
) -> Callable[..., np.ndarray]:
    """body(lanes, *values) over arrays of equal sizes, as a function of arrays.

    Without masks the sizes are multiples of `width`. The body is given an index too, an i64,
    where it says so by its attribute `wants_index`.
    """
    sources, target = [np.dtype(s) for s in sources], np.dtype(target)
    pointer = I8.as_pointer()
    module = ir.Module(f"test{next(_numbers)}")
    kinds = [I64] + [pointer] * (len(sources) + 1)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "run")
    count, *places, out = function.args
    entry, loop, end = (function.append_basic_block(n) for n in ("entry", "loop", "end"))
    b = ir.IRBuilder(entry)
    b.cbranch(b.icmp_signed(">", count, I64(0)), loop, end)
    b.position_at_end(loop)
    i = b.phi(I64)
    lanes = Lanes(b, width)
    mask = lanes.mask_first(b.sub(count, i)) if masked else None

    def at(place: ir.Value, dtype: np.dtype) -> ir.Value:
        return b.gep(place, [b.mul(i, I64(dtype.itemsize))])

    values = [lanes.load(at(p, d), d, mask) for p, d in zip(places, sources, strict=True)]
    extra = [i] if getattr(body, "wants_index", False) else []
    lanes.store(body(lanes, *extra, *values), at(out, target), target, mask)
    following = b.add(i, I64(width))
    i.add_incoming(I64(0), entry)
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, count), loop, end)
    b.position_at_end(end)
    b.ret_void()
    address = compile_module(module).get_function_address("run")
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(sources) + 1))(address)

    def run(*arrays: np.ndarray) -> np.ndarray:
        arrays = tuple(
            np.ascontiguousarray(a, dtype) for a, dtype in zip(arrays, sources, strict=True)
        )
        result = np.empty(arrays[0].shape, target)
        call(result.size, *(a.ctypes.data for a in arrays), result.ctypes.data)
        return result

    run.address = address  # type: ignore[attr-defined]
    return run


def elementwise(
    name: Any, dtype: Any, arity: int, result: Any = None, width: int = 16
) -> Callable[..., np.ndarray]:
    """An elementwise operation as a function of arrays."""
    dtype = np.dtype(dtype)

    def body(lanes: Lanes, *args: ir.Value) -> ir.Value:
        return lanes.elementwise(name, args, dtype)

    return over_arrays(body, [dtype] * arity, dtype if result is None else result, width)
