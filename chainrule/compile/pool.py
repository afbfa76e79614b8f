"""The threads that run compiled programs, and the runner that hands a program's thunks to them.

There is one pool in a process. Its workers are Python's daemon threads that went into native code
and hold no lock of the interpreter; they start when a program first wants them, and anew after a
fork. One program at a time has them: a program that another thread runs meanwhile works on that
thread alone, with the same bits, since what a task does never depends on who does it.
"""

from __future__ import annotations

import atexit
import ctypes
import operator
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import cache as once
from typing import NamedTuple, SupportsIndex

import numpy as np

from chainrule.compile import engine
from chainrule.compile.emit import runner as native
from chainrule.compile.emit import workers
from chainrule.compile.machine import machine, processors
from chainrule.tensor.locate import explained

Run = Callable[..., int]

_MAX_THREADS = 1024
_SCRATCH_STEP = 1 << 16
_CALL = {name: index for index, name in enumerate(native.CALL)}


class Thunk(NamedTuple):
    """One step of a program: `tasks` tasks of a kernel on the arguments at an address.

    A step that `commits` writes to state that outlives the call: it and what follows are left out
    when a kernel before it has set the status word.
    """

    kernel: int
    arguments: int
    tasks: int = 1
    parallel: bool = False
    commits: bool = False


class Patch(NamedTuple):
    """The argument slot at an address gets the data pointer of an input, moved by some bytes."""

    slot: int
    input: int
    offset: int = 0


class Runner:
    """A program that is ready to run: `runner(*arrays)` gives the status that its kernels left.

    The arrays are the inputs that the patches number; their dtypes, shapes and strides are the
    caller's business. Two threads that call one runner take turns.

    `run` is the native function itself, for a caller that counts microseconds: a result that is
    negative means that nothing was run, and that `runner.again(*arrays)` does it.
    """

    def __init__(
        self,
        thunks: Sequence[Thunk],
        patches: Sequence[Patch] = (),
        *,
        inputs: int = 0,
        scratch: int = 0,
        status: int = 0,
    ) -> None:
        self._thunks = np.array(
            [(t.kernel, t.arguments, t.tasks, _flags(t)) for t in thunks], np.int64
        ).reshape(-1, 4)
        self._patches = np.array(patches, np.int64).reshape(-1, 3)
        self._scratch = scratch
        self._call = np.zeros(len(native.CALL), np.int64)
        self._set(
            pool=_pool().address,
            thunks=self._thunks.ctypes.data,
            thunk_count=len(self._thunks),
            patches=self._patches.ctypes.data,
            patch_count=len(self._patches),
            inputs=inputs,
            status=status,
            scratch=scratch,
            parallel=int(any(t.parallel for t in thunks)),
        )
        self.run = _bind("run", self._call)
        self._alone = _bind("alone", self._call)
        _pool().runners.add(self)

    def __call__(self, *arrays: np.ndarray) -> int:
        status = self.run(*arrays)
        return self.again(*arrays) if status < 0 else status

    def again(self, *arrays: np.ndarray) -> int:
        """Do what `run` could not: get the pool ready, or work without it, or await one's turn."""
        pool = _pool()
        pool.prepare(self._scratch)
        status = self.run(*arrays)
        while status < 0:
            if status == native.IN_USE:
                time.sleep(20e-6)
            status = self._alone(*arrays, pool.own_scratch(self._scratch))
        return status

    def times(self, *arrays: np.ndarray) -> np.ndarray:
        """Run once; the seconds that each thunk took, those left out after an error being 0."""
        stamps = np.zeros(len(self._thunks) + 1, np.int64)
        self._set(stamps=stamps.ctypes.data)
        try:
            self(*arrays)
        finally:
            self._set(stamps=0)
        return np.maximum(np.diff(stamps), 0) * 1e-9

    def reset(self) -> None:
        """Forget a run that a thread was in the middle of when this process was forked off."""
        self._set(busy=0)

    def _set(self, **words: int) -> None:
        for name, value in words.items():
            self._call[_CALL[name]] = value


@explained
def get_num_threads() -> int:
    """How many threads compiled programs run on."""
    return _pool().threads


@explained
def set_num_threads(number: int) -> None:
    """Run compiled programs on so many threads; results do not depend on it.

    The number at the start is that of the processors this process may use, or that of the
    environment variable CHAINRULE_NUM_THREADS.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    """
    _pool().resize(_checked(number, "set_num_threads"))


class _Pool:
    """The state that native code shares with the workers, and the workers themselves."""

    def __init__(self, threads: int) -> None:
        self._room = np.zeros(workers.SCRATCH // 8 + _MAX_THREADS + 16, np.int64)
        self.address = -(-self._room.ctypes.data // 128) * 128
        self._own = threading.local()
        self.threads = threads
        self.runners: weakref.WeakSet[Runner] = weakref.WeakSet()
        self.start()

    def start(self) -> None:
        """Begin without workers: at first, and in a process that a fork has just made."""
        ctypes.memset(self.address, 0, workers.SCRATCH)
        self._lock = threading.RLock()
        self._workers: list[threading.Thread] = []
        self._blocks: list[np.ndarray] = []  # of all times: a kernel may still work in an old one
        self._scratch = 0
        self._write(workers.WANTED, self.threads - 1)
        for runner in self.runners:
            runner.reset()

    def prepare(self, scratch: int) -> None:
        """Have the workers that are wanted, and scratch of at least so many bytes for each."""
        with self._lock:
            if scratch > self._scratch:
                self._grow(max(scratch, 2 * self._scratch))
            if len(self._workers) < self.threads - 1:
                self._hire()

    def resize(self, threads: int) -> None:
        """Have another number of threads from the next run on."""
        with self._lock:
            if threads == self.threads:
                return
            self._exclusively(self._dismiss)
            self.threads = threads
            self._write(workers.WANTED, threads - 1)
            if self._scratch:
                self._grow(self._scratch)

    def own_scratch(self, wanted: int) -> np.ndarray:
        """Scratch of the calling Python thread, for a run without the pool."""
        block: np.ndarray | None = getattr(self._own, "block", None)
        if block is None or block.nbytes < wanted:
            block = self._own.block = _aligned(wanted)
        return block

    def stop(self) -> None:
        """Let the workers end; the process is about to."""
        with self._lock:
            self._dismiss()

    def _grow(self, wanted: int) -> None:
        size = -(-wanted // _SCRATCH_STEP) * _SCRATCH_STEP
        for index in range(self.threads):
            block = _aligned(size)
            self._blocks.append(block)
            self._write(workers.SCRATCH + 8 * index, block.ctypes.data)
        self._write(workers.SCRATCH_SIZE, size)
        self._scratch = size

    def _hire(self) -> None:
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(_library().address("work"))
        for index in range(len(self._workers) + 1, self.threads):
            worker = threading.Thread(
                target=work, args=(self.address, index), name=f"chainrule-{index}", daemon=True
            )
            worker.start()
            self._workers.append(worker)
        self._write(workers.WORKERS, len(self._workers))

    def _dismiss(self) -> None:
        if not self._workers:
            return
        _function("dismiss")(self.address)
        for worker in self._workers:
            worker.join()
        self._workers.clear()
        self._write(workers.WORKERS, 0)
        self._write(workers.STOP, 0)

    def _exclusively(self, action: Callable[[], None]) -> None:
        """Do it while no program has the pool."""
        acquire = _function("acquire")
        while not acquire(self.address):
            time.sleep(20e-6)
        try:
            action()
        finally:
            _function("release")(self.address)

    def _write(self, place: int, value: int) -> None:
        ctypes.c_int64.from_address(self.address + place).value = value


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80


def _bind(name: str, call: np.ndarray) -> Run:
    """A native function as one of Python's whose self is this call."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    run: Run = make(ctypes.addressof(_method(name)), call, None)
    return run


@once
def _method(name: str) -> _Method:
    return _Method(name.encode(), _library().address(name), _METH_FASTCALL, None)


@once
def _library() -> engine.Library:
    text = native.source(machine().architecture)
    return engine.compile_module(text, ("run", "alone", "work", "acquire", "release", "dismiss"))


def _function(name: str) -> Callable[[int], int]:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(_library().address(name))


@once
def _pool() -> _Pool:
    given = os.environ.get("CHAINRULE_NUM_THREADS")
    pool = _Pool(processors() if given is None else _checked(given, "CHAINRULE_NUM_THREADS"))
    atexit.register(pool.stop)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pool.start)
    return pool


def _checked(number: SupportsIndex | str, where: str) -> int:
    """A number of threads, from a number or from text."""
    try:
        threads = int(number) if isinstance(number, str) else operator.index(number)
    except (TypeError, ValueError):
        threads = 0
    if not 1 <= threads <= _MAX_THREADS:
        raise ValueError(
            f"{where}: {number!r} is no number of threads; it is an integer from 1 to "
            f"{_MAX_THREADS}, usually that of the processors, here {processors()}"
        )
    return threads


def _flags(thunk: Thunk) -> int:
    return native.PARALLEL * thunk.parallel | native.COMMITS * thunk.commits


def _aligned(size: int) -> np.ndarray:
    """Fresh bytes that start at a line of the cache."""
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size]
