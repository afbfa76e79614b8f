"""From LLVM's intermediate representation to machine code in memory.

Kernels come with explicit vectors, so that only light passes run over them (no vectoriser, no
unroller), and LLVM's code generator does the rest. ORC with JITLink loads the object code: it lays
out a library in one piece of memory, which allows the small code model, and is the faster loader.
Object code that the disk cache has is loaded without any of that.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import threading
from collections.abc import Callable, Iterable
from functools import cache as once
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from chainrule.compile import cache
from chainrule.compile.machine import machine, processors
from chainrule.tensor import debug

Sources = Callable[[], Iterable[Any]]

_numbers = itertools.count()


class Library:
    """Machine code in memory, which stays there as long as this object lives."""

    def __init__(self, objects: Iterable[bytes], names: Iterable[str], sources: Sources) -> None:
        builder = llvm.JITLibraryBuilder().add_current_process()
        for code in objects:
            builder.add_object_img(code)
        for name in names:
            builder.export_symbol(name)
        self._tracker = builder.link(_jit(), f"chainrule{next(_numbers)}")
        self._sources = sources

    def address(self, name: str) -> int:
        """Where the function starts."""
        return self._tracker[name]

    def llvm(self) -> str:
        """The modules as the passes left them."""
        return "\n".join(str(_optimised(str(module))) for module in self._sources())

    def assembly(self) -> str:
        """The modules in the machine's own assembly language."""
        emit = _target_machine().emit_assembly
        return "\n".join(emit(_optimised(str(module))) for module in self._sources())


def compile_module(module: Any, names: Iterable[str]) -> Library:
    """Machine code for a module (text, or an `llvmlite.ir.Module`) that defines `names`."""
    text = str(module)
    return library(text, names, lambda: (text,))


def library(key: str, names: Iterable[str], sources: Sources) -> Library:
    """Machine code for the modules that `sources()` makes; `key` tells all that they depend on.

    The cache on disk is asked by key first, so that what is known is neither emitted nor compiled.
    Otherwise threads compile the modules, one each at a time. They are linked with one another: one
    may call what another defines.
    """
    names = tuple(names)
    full_key = cache.key(json.dumps((key, names)), machine())
    if (entry := cache.load(full_key)) is not None:
        lengths, code = entry
        ends = list(itertools.accumulate(lengths))
        parts = [code[end - length : end] for length, end in zip(lengths, ends, strict=True)]
        return Library(parts, names, sources)
    objects = emit_objects(sources())
    cache.store(full_key, b"".join(objects), facts=[len(code) for code in objects])
    return Library(objects, names, sources)


def emit_objects(modules: Iterable[Any]) -> list[bytes]:
    """The object code of each module.

    They are all made before the first is compiled: threads that compile then need not wait for the
    interpreter's lock, which making them holds.
    """
    texts = [str(module) for module in modules]
    if len(texts) < 2:
        return [_emit(_optimised(text)) for text in texts]
    from concurrent.futures import ThreadPoolExecutor  # milliseconds that the cache saves

    with ThreadPoolExecutor(processors()) as threads:
        return list(threads.map(lambda text: _emit(_optimised(text)), texts))


def _optimised(text: str) -> llvm.ModuleRef:
    """A module of a context of its own, so that threads may work on several."""
    context, error = llvm.create_context(), ctypes.c_char_p()
    parsed = _unlocked("LLVMPY_ParseAssembly")(context, text.encode(), ctypes.byref(error))
    module = llvm.ModuleRef(parsed, context) if parsed else llvm.parse_assembly(text)  # raises
    if debug.level:
        module.verify()
    builder = llvm.create_pass_builder(_target_machine(), llvm.create_pipeline_tuning_options(2))
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_simplify_cfg_pass()
    _unlocked("LLVMPY_RunNewModulePassManager")(passes, module, builder)
    return module


def _emit(module: llvm.ModuleRef) -> bytes:
    """The object code of a module, by a target machine of the calling thread's own."""
    error = ctypes.c_char_p()
    emit = _unlocked("LLVMPY_TargetMachineEmitToMemory")
    buffer = emit(_target_machine(), module, 1, ctypes.byref(error))
    if not buffer:
        raise RuntimeError(f"LLVM emitted no code: {(error.value or b'').decode()}")
    start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
    code = ctypes.string_at(start, size)
    ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)
    return code


@once
def _unlocked(name: str) -> Any:
    """A function of LLVM without llvmlite's lock, which would let one thread in at a time."""
    locked, function = getattr(ffi.lib, name), getattr(ctypes.CDLL(ffi.lib._name), name)
    function.argtypes, function.restype = locked.argtypes, locked.restype
    return function


class _Local(threading.local):
    target_machine: llvm.TargetMachine | None = None


_local = _Local()
_making = threading.Lock()
_engines: list[llvm.LLJIT] = []


def _jit() -> llvm.LLJIT:
    with _making:
        if not _engines:
            _engines.append(llvm.create_lljit_compiler(_new_target_machine(), use_jit_link=True))
    return _engines[0]


def _target_machine() -> llvm.TargetMachine:
    if _local.target_machine is None:
        _local.target_machine = _new_target_machine()
    return _local.target_machine


def _new_target_machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = machine()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=host.cpu, features=host.features, opt=2, reloc="pic", codemodel="small", jit=True
    )
