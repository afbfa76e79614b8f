"""The runner does each task once, on any number of threads, after forks and beside other runs."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule.compile import engine, peaks
from chainrule.compile.arena import arena
from chainrule.compile.pool import Patch, Runner, Thunk, get_num_threads, set_num_threads

KERNELS = """
; x[task] += 1
define void @increment(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %at = getelementptr i64, ptr %x, i64 %task
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret void
}
; x[task] = 3 x[task] + 1, by way of 1,000 words of scratch that must not be anyone else's
define void @scratched(ptr %args, i64 %task, ptr %scratch) {
entry:
  %x = load ptr, ptr %args
  %at = getelementptr i64, ptr %x, i64 %task
  %old = load i64, ptr %at
  %three = mul i64 %old, 3
  %new = add i64 %three, 1
  br label %fill
fill:
  %i = phi i64 [0, %entry], [%i.next, %fill]
  %to = getelementptr i64, ptr %scratch, i64 %i
  store volatile i64 %new, ptr %to
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, 1000
  br i1 %more, label %fill, label %read
read:
  %j = phi i64 [0, %fill], [%j.next, %read]
  %all = phi i64 [0, %fill], [%all.next, %read]
  %from = getelementptr i64, ptr %scratch, i64 %j
  %word = load volatile i64, ptr %from
  %differs = xor i64 %word, %new
  %all.next = or i64 %all, %differs
  %j.next = add i64 %j, 1
  %again = icmp ult i64 %j.next, 1000
  br i1 %again, label %read, label %end
end:
  %wrong = icmp ne i64 %all.next, 0
  %result = select i1 %wrong, i64 -1, i64 %new
  store i64 %result, ptr %at
  ret void
}
; the status word gets task + 7
define void @fail(ptr %args, i64 %task, ptr %scratch) {
  %status = load ptr, ptr %args
  %code = add i64 %task, 7
  store i64 %code, ptr %status
  ret void
}
; x[task] = the address of scratch
define void @where(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %at = getelementptr ptr, ptr %x, i64 %task
  store ptr %scratch, ptr %at
  ret void
}
; the byte at x + task is 1
define void @poke(ptr %args, i64 %task, ptr %scratch) {
  %x = load ptr, ptr %args
  %at = getelementptr i8, ptr %x, i64 %task
  store volatile i8 1, ptr %at
  ret void
}
"""
NAMES = ("increment", "scratched", "fail", "where", "poke")

CHILD = """
import os, sys, threading
import numpy as np
sys.path.insert(0, {folder!r})
import test_pool as t
from chainrule.compile.pool import *
"""


@pytest.fixture(autouse=True)
def _threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    before = get_num_threads()
    yield
    set_num_threads(before)


_kernels: list[engine.Library] = []


def kernel(name: str) -> int:
    if not _kernels:
        _kernels.append(engine.compile_module(KERNELS, NAMES))
    return _kernels[0].address(name)


class Program:
    """Thunks of one kernel on one array, which is an input."""

    def __init__(self, name: str, tasks: int, *, repeats: int = 1, scratch: int = 0) -> None:
        self.slots = np.zeros(1, np.int64)
        self.run = Runner(
            [Thunk(kernel(name), self.slots.ctypes.data, tasks, parallel=True)] * repeats,
            [Patch(self.slots.ctypes.data, 0)],
            inputs=1,
            scratch=scratch,
        )


def child(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    text = CHILD.format(folder=str(Path(__file__).parent)) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text],  # of forks, from 3.12 on
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 64, 1000])
def test_each_task_is_done_once(threads: int, tasks: int) -> None:
    set_num_threads(threads)
    program = Program("increment", tasks, repeats=7)
    x = np.zeros(tasks + 1, np.int64)
    for _ in range(200):
        assert program.run(x) == 0
    np.testing.assert_array_equal(x[:tasks], 1400)
    assert x[tasks] == 0


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_scratch_is_private_and_grows(threads: int) -> None:
    set_num_threads(threads)
    for scratch in (8000, 100, 300_000, 1_000_000):
        x = np.arange(200)
        assert Program("scratched", 200, scratch=max(scratch, 8000)).run(x) == 0
        np.testing.assert_array_equal(x, 3 * np.arange(200) + 1)


def test_scratch_starts_at_a_line_of_the_cache() -> None:
    set_num_threads(3)
    x = np.ones(500, np.int64)
    Program("where", 500, scratch=64).run(x)
    assert not (x % 64).any()
    assert len(set(x.tolist())) <= 3


def test_patches_put_data_pointers_and_offsets_into_slots() -> None:
    slots = np.zeros(2, np.int64)
    thunks = [
        Thunk(kernel("increment"), slots.ctypes.data, 2),
        Thunk(kernel("increment"), slots[1:].ctypes.data, 3),
    ]
    patches = [Patch(slots.ctypes.data, 1), Patch(slots[1:].ctypes.data, 0, 16)]
    run = Runner(thunks, patches, inputs=2)
    a, b = np.zeros(8, np.int64), np.zeros(8, np.int64)
    assert run(a, b[4:]) == 0
    assert slots.tolist() == [b[4:].ctypes.data, a.ctypes.data + 16]
    assert a.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert b.tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_a_wrong_number_of_inputs_is_refused() -> None:
    program = Program("increment", 1)
    x = np.zeros(1, np.int64)
    for arrays in ((), (x, x), (x, x, x)):
        with pytest.raises(SystemError):
            program.run(*arrays)
    assert x[0] == 0


@pytest.mark.parametrize("parallel", [False, True])
def test_after_an_error_nothing_is_committed(parallel: bool) -> None:
    set_num_threads(2)
    status, x = np.zeros(1, np.int64), np.zeros(4, np.int64)
    slots = np.array([status.ctypes.data, x.ctypes.data], np.int64)

    def increment(commits: bool) -> Thunk:
        return Thunk(kernel("increment"), slots[1:].ctypes.data, 4, parallel, commits)

    def program(tasks: int) -> Runner:
        fail = Thunk(kernel("fail"), slots.ctypes.data, tasks)
        thunks = [increment(True), fail, increment(False), increment(True), increment(False)]
        return Runner(thunks, status=status.ctypes.data)

    assert program(0)() == 0
    assert x.tolist() == [4] * 4
    run = program(1)
    assert run() == 7
    assert status[0] == 7
    assert x.tolist() == [6] * 4  # the first commit, and what commits nothing
    assert run() == 7  # the status of the last run is forgotten before the next
    assert x.tolist() == [8] * 4
    assert (run.times()[3:] == 0).all()


def test_an_empty_program_runs() -> None:
    run = Runner([])
    assert run() == 0
    assert run.times().shape == (0,)


def test_times_are_those_of_the_thunks() -> None:
    program = Program("scratched", 50, repeats=4, scratch=8000)
    times = program.run.times(np.zeros(50, np.int64))
    assert times.shape == (4,)
    assert (times > 0).all()
    assert (times < 10).all()


def test_python_threads_run_at_once() -> None:
    set_num_threads(3)
    failures = []

    def work(seed: int) -> None:
        program = Program("scratched", 30, repeats=3, scratch=8000)
        for i in range(300):
            x = np.arange(30) + seed + i
            expected = 27 * x + 13
            if program.run(x) != 0 or (x != expected).any():
                failures.append((seed, i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_python_threads_that_share_a_runner_take_turns() -> None:
    set_num_threads(2)
    program = Program("increment", 40, repeats=5)
    arrays = [np.zeros(40, np.int64) for _ in range(4)]

    def work(x: np.ndarray) -> None:
        for _ in range(300):
            program.run(x)

    threads = [threading.Thread(target=work, args=(x,)) for x in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x in arrays:
        np.testing.assert_array_equal(x, 1500)


def test_a_callback_to_python_may_run_another_program() -> None:
    set_num_threads(2)
    inner = Program("scratched", 20, scratch=8000)
    x = np.arange(20)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    def host(arguments: int, task: int, scratch: int) -> None:
        inner.run(x)

    address = ctypes.cast(host, ctypes.c_void_p).value or 0
    slots = np.array([x.ctypes.data], np.int64)
    outer = Runner([Thunk(address, 0), Thunk(kernel("increment"), slots.ctypes.data, 20, True)])
    for _ in range(3):
        assert outer() == 0
    expected = np.arange(20)
    for _ in range(3):
        expected = 3 * expected + 2
    np.testing.assert_array_equal(x, expected)


def test_the_number_of_threads_may_change_between_and_beside_runs() -> None:
    program = Program("increment", 64)
    x = np.zeros(64, np.int64)
    done = threading.Event()

    def change() -> None:
        for number in [1, 4, 2, 3] * 5:
            set_num_threads(number)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    runs = 0
    while not done.is_set():
        program.run(x)
        runs += 1
    thread.join()
    np.testing.assert_array_equal(x, runs)
    assert get_num_threads() == 3


@pytest.mark.parametrize("number", [0, -1, 1025, 2.5, "two", None])
def test_what_is_no_number_of_threads_is_refused(number: object) -> None:
    with pytest.raises(ValueError, match=r"set_num_threads: .* is no number of threads"):
        set_num_threads(number)  # type: ignore[arg-type]


def test_the_environment_sets_the_number_of_threads() -> None:
    program = "print(get_num_threads())"
    assert child(program, CHAINRULE_NUM_THREADS="3").stdout == "3\n"
    assert "CHAINRULE_NUM_THREADS: 'many'" in child(program, CHAINRULE_NUM_THREADS="many").stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_runs_with_threads_of_its_own() -> None:
    done = child("""
        set_num_threads(3)
        program = t.Program("scratched", 40, scratch=8000)
        stop = threading.Event()
        def disturb():
            other = t.Program("scratched", 40, scratch=8000)
            while not stop.is_set():
                other.run(np.zeros(40, np.int64))
                program.run(np.zeros(40, np.int64))
        thread = threading.Thread(target=disturb)
        thread.start()
        for generation in range(10):
            x = np.arange(40)
            assert program.run(x) == 0
            child = os.fork()
            if child == 0:
                y = np.arange(40)
                for _ in range(20):
                    y[:] = np.arange(40)
                    assert program.run(y) == 0
                assert (y == 3 * np.arange(40) + 1).all()
                assert sum(th.name.startswith("chainrule") for th in threading.enumerate()) == 2
                sys.stdout.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        print("done")
    """)
    assert done.stdout == "done\n", done.stderr


def test_the_process_ends_with_workers_asleep_awake_and_at_work() -> None:
    for pause in ("0", "0.2"):
        done = child(f"""
            import time
            set_num_threads(4)
            program = t.Program("increment", 64)
            program.run(np.zeros(64, np.int64))
            time.sleep({pause})
            program.run(np.zeros(64, np.int64))
            print("done")
        """)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("size", [1, 63, 64, 100, 4096, 5000])
def test_an_arena_is_aligned_and_zero(size: int) -> None:
    for guarded in (False, True):
        memory = arena(size, guarded=guarded)
        assert memory.nbytes == size
        assert memory.ctypes.data % 64 == 0
        assert not memory.any()
        memory[:] = 255


@pytest.mark.skipif(sys.platform == "win32", reason="memory is guarded otherwise there")
@pytest.mark.parametrize(("tasks", "survives"), [(640, True), (641, False)])
def test_a_kernel_that_writes_past_a_guarded_arena_is_killed(tasks: int, survives: bool) -> None:
    done = child(f"""
        from chainrule.compile.arena import arena
        set_num_threads(1)
        program = t.Program("poke", {tasks})
        program.run(arena(640, guarded=True))
        print("survived")
    """)
    assert (done.stdout == "survived\n") == survives
    assert (done.returncode == 0) == survives


def test_peaks_are_measured() -> None:
    set_num_threads(2)
    measured = peaks.peaks()
    assert measured.threads == 2
    assert 1e8 < measured.flops_thread < 1e13
    assert 1e8 < measured.flops < 1e14
    assert 1e7 < measured.bandwidth < 1e13
