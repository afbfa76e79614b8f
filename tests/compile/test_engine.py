"""Code that LLVM makes of small modules does what NumPy does, from the cache and afresh."""

import ctypes
import threading
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir

from chainrule.compile import engine
from chainrule.compile.machine import machine
from chainrule.tensor import debug


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))


def polynomial(name: str, degree: int) -> str:
    """A function of a float64 by Horner's rule, all coefficients 1, as a module's text."""
    lines = [f"define double @{name}(double %x) {{", "  %place = alloca double"]
    lines += ["  store double 1.0, ptr %place"]
    for i in range(degree):
        lines += [
            f"  %a{i} = load double, ptr %place",
            f"  %b{i} = fmul double %a{i}, %x",
            f"  %c{i} = fadd double %b{i}, 1.0",
            f"  store double %c{i}, ptr %place",
        ]
    return "\n".join([*lines, "  %y = load double, ptr %place", "  ret double %y", "}"])


def call(library: engine.Library, name: str, x: float) -> float:
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address(name))
    return function(x)


def test_a_module_computes() -> None:
    library = engine.compile_module(polynomial("p", 5), ["p"])
    assert call(library, "p", 0.37) == np.polyval(np.ones(6), 0.37)


def test_a_module_may_be_an_object_of_llvmlite() -> None:
    module = ir.Module("m")
    kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
    function = ir.Function(module, kind, "twice")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.add(function.args[0], function.args[0]))
    address = engine.compile_module(module, ["twice"]).address
    library = engine.compile_module(module, ["twice"])
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("twice"))(21) == 42
    assert address("twice") != library.address("twice")


def test_the_sources_are_asked_for_once_only() -> None:
    asked = []

    def sources() -> list[str]:
        asked.append(1)
        return [polynomial("p", 3), polynomial("q", 4)]

    first = engine.library("a key", ["p", "q"], sources)
    second = engine.library("a key", ["p", "q"], sources)
    assert len(asked) == 1
    for library in (first, second):
        assert call(library, "p", 0.5) == np.polyval(np.ones(4), 0.5)
        assert call(library, "q", 0.5) == np.polyval(np.ones(5), 0.5)
    engine.library("another key", ["p", "q"], sources)
    assert len(asked) == 2


def test_modules_are_linked_with_one_another_and_with_the_process() -> None:
    caller = """
    declare double @p(double)
    declare double @cos(double)
    define double @both(double %x) {
      %a = call double @p(double %x)
      %b = call double @cos(double %a)
      ret double %b
    }"""
    library = engine.library("linked", ["both"], lambda: [caller, polynomial("p", 1)])
    assert call(library, "both", 0.25) == np.cos(1.25)


def test_what_a_module_is_called_by_may_repeat() -> None:
    libraries = [engine.compile_module(polynomial("p", degree), ["p"]) for degree in range(4)]
    values = [call(library, "p", 1.0) for library in libraries]
    assert values == [1.0, 2.0, 3.0, 4.0]


def test_the_code_is_shown() -> None:
    library = engine.compile_module(polynomial("p", 2), ["p"])
    assert "define double @p" in library.llvm()
    assert "alloca" not in library.llvm()
    assert "p:" in library.assembly()


def test_helpers_are_inlined_and_left_out_where_they_are_not_used() -> None:
    text = """
    define internal double @one(double %x) alwaysinline {
      %y = fadd double %x, 1.0
      ret double %y
    }
    define internal void @nobody() {
      ret void
    }
    define double @f(double %x) {
      %y = call double @one(double %x)
      ret double %y
    }"""
    library = engine.compile_module(text, ["f"])
    assert call(library, "f", 1.0) == 2.0
    assert "@one" not in library.llvm()
    assert "@nobody" not in library.llvm()


def test_a_module_that_is_wrong_is_found_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "level", 1)
    text = """
    define i64 @f(i1 %c) {
    entry:
      br i1 %c, label %left, label %right
    left:
      %x = add i64 1, 2
      br label %right
    right:
      ret i64 %x
    }"""
    with pytest.raises(RuntimeError, match="dominate"):
        engine.emit_objects([text])


def test_threads_compile_at_once() -> None:
    values = {}

    def compile_and_call(degree: int) -> None:
        library = engine.compile_module(polynomial("p", degree), ["p"])
        values[degree] = call(library, "p", 1.0)

    threads = [threading.Thread(target=compile_and_call, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {n: n + 1.0 for n in range(12)}


def test_the_machine() -> None:
    host = machine()
    assert host.lanes * 32 == host.vector_bits
    assert host.lanes in {4, 8, 16}
    assert host.vector_registers in {16, 32}
    assert host.threads >= 1
    assert 0 < host.l1 < host.l2 <= host.l3
    assert machine() is host
