"""The native side of the thread pool, as the text of a part of a module.

A job is a kernel with its tasks. `share` publishes one, by one exchange of the ticket: the job's
number above, the count of tasks that nobody has taken below. Who lowers the count by
compare-and-exchange owns a task, and so knows that the job's description is the current one: it
stays until all of its tasks are done. No worker need be awake for a job to be finished; one that
comes late finds the count at zero. Idle workers watch the ticket for a while and then sleep in the
kernel until its upper half changes (futex: U. Drepper, Futexes Are Tricky, 2011).
"""

from __future__ import annotations

import sys

# The bytes at which the pool's state has what; lines of the cache apart where threads contend.
TICKET, DONE, JOB, LOCK, SLEEPERS, SETTINGS, SCRATCH = 0, 128, 256, 384, 512, 640, 768
STOP, ACTIVE, WORKERS, WANTED, SCRATCH_SIZE = (SETTINGS + 8 * i for i in range(5))

_SHORT_WATCH = 50_000  # nanoseconds that a worker watches for work between calls …
_LONG_WATCH = 2_000_000  # … and within one

_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # the number of the system call
_PAUSE = {
    "x86_64": ("llvm.x86.sse2.pause", "", ""),
    "aarch64": ("llvm.aarch64.hint", "i32", "i32 1"),  # yield
}


def source(architecture: str) -> str:
    """The text for a processor and this operating system."""
    pause, kind, value = _PAUSE.get(architecture, ("", "", ""))
    return _TEMPLATE.format(
        **globals(),
        monotonic=1 if sys.platform.startswith("linux") else 6,  # CLOCK_MONOTONIC
        pause=f"call void @{pause}({value})" if pause else "",
        declare_pause=f"declare void @{pause}({kind})" if pause else "",
        sleeping=_sleeping(architecture),
    )


def _sleeping(architecture: str) -> str:
    """`sleep_on` waits until a word is no longer what it was, `wake` rouses all who wait for it."""
    if sys.platform.startswith("linux") and architecture in _FUTEX:
        return _FUTEX_CALLS.format(number=_FUTEX[architecture])
    return _POLLING


_FUTEX_CALLS = """
declare i64 @syscall(i64, ...)
define internal void @sleep_on(ptr %word, i32 %was) noinline {{
  call i64 (i64, ...) @syscall(
    i64 {number}, ptr %word, i32 128, i32 %was, ptr null, ptr null, i32 0)
  ret void
}}
define internal void @wake(ptr %word) noinline {{
  call i64 (i64, ...) @syscall(
    i64 {number}, ptr %word, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  ret void
}}
"""

_POLLING = """
declare i32 @usleep(i32)
define internal void @sleep_on(ptr %word, i32 %was) noinline {
  call i32 @usleep(i32 100)
  ret void
}
define internal void @wake(ptr %word) noinline {
  ret void
}
"""

_TEMPLATE = """
{declare_pause}
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
{sleeping}

define internal i64 @now() noinline {{
  %time = alloca [2 x i64]
  call i32 @clock_gettime(i32 {monotonic}, ptr %time)
  %seconds = load i64, ptr %time
  %rest.at = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest.at
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %rest
  ret i64 %sum
}}

; Take tasks of the published job until none is left, and count those done.
define internal void @help(ptr %pool, ptr %scratch) noinline {{
entry:
  %done.at = getelementptr i8, ptr %pool, i64 {DONE}
  %kernel.at = getelementptr i8, ptr %pool, i64 {JOB}
  %args.at = getelementptr i64, ptr %kernel.at, i64 1
  %tasks.at = getelementptr i64, ptr %kernel.at, i64 2
  br label %look
look:
  %count = phi i64 [0, %entry], [%count, %lost], [%more, %taken]
  %ticket = load atomic i64, ptr %pool monotonic, align 8
  %left = and i64 %ticket, 4294967295
  %none = icmp eq i64 %left, 0
  br i1 %none, label %leave, label %try
try:
  %lower = sub i64 %ticket, 1
  %pair = cmpxchg ptr %pool, i64 %ticket, i64 %lower acq_rel monotonic
  %won = extractvalue {{i64, i1}} %pair, 1
  br i1 %won, label %taken, label %lost
lost:
  {pause}
  br label %look
taken:
  %kernel = load ptr, ptr %kernel.at
  %args = load ptr, ptr %args.at
  %tasks = load i64, ptr %tasks.at
  %task = sub i64 %tasks, %left
  call void %kernel(ptr %args, i64 %task, ptr %scratch)
  %more = add i64 %count, 1
  br label %look
leave:
  %idle = icmp eq i64 %count, 0
  br i1 %idle, label %end, label %tell
tell:
  %before = atomicrmw add ptr %done.at, i64 %count release
  br label %end
end:
  ret void
}}

; The life of a worker: it ends when the pool is told to stop.
define void @work(ptr %pool, i64 %index) {{
entry:
  %upper = getelementptr i8, ptr %pool, i64 4
  %sleepers = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  %stop.at = getelementptr i8, ptr %pool, i64 {STOP}
  %active.at = getelementptr i8, ptr %pool, i64 {ACTIVE}
  %blocks = getelementptr i8, ptr %pool, i64 {SCRATCH}
  %block = getelementptr ptr, ptr %blocks, i64 %index
  br label %rest
rest:
  %start = call i64 @now()
  br label %watch
watch:
  %turn = phi i32 [0, %rest], [0, %again], [%turns, %relax]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %left = and i64 %ticket, 4294967295
  %nothing = icmp eq i64 %left, 0
  br i1 %nothing, label %idle, label %busy
busy:
  %scratch = load atomic ptr, ptr %block acquire, align 8
  call void @help(ptr %pool, ptr %scratch)
  br label %rest
idle:
  %stop = load atomic i64, ptr %stop.at monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %end, label %relax
relax:
  {pause}
  %turns = add i32 %turn, 1
  %few = icmp ult i32 %turns, 16
  br i1 %few, label %watch, label %clock
clock:
  %time = call i64 @now()
  %waited = sub i64 %time, %start
  %active = load atomic i64, ptr %active.at monotonic, align 8
  %within = icmp ne i64 %active, 0
  %limit = select i1 %within, i64 {_LONG_WATCH}, i64 {_SHORT_WATCH}
  %patient = icmp ult i64 %waited, %limit
  br i1 %patient, label %again, label %sleep
again:
  br label %watch
sleep:
  %up = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %last = load atomic i64, ptr %pool seq_cst, align 8
  %last.left = and i64 %last, 4294967295
  %last.nothing = icmp eq i64 %last.left, 0
  %last.stop = load atomic i64, ptr %stop.at seq_cst, align 8
  %going = icmp eq i64 %last.stop, 0
  %sleepy = and i1 %last.nothing, %going
  br i1 %sleepy, label %wait, label %woken
wait:
  %last.number = lshr i64 %last, 32
  %number = trunc i64 %last.number to i32
  call void @sleep_on(ptr %upper, i32 %number)
  br label %woken
woken:
  %down = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %rest
end:
  ret void
}}

; Rouse those who sleep, if there are any.
define internal void @rouse(ptr %pool) {{
  %sleepers = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  %count = load atomic i64, ptr %sleepers seq_cst, align 8
  %none = icmp eq i64 %count, 0
  br i1 %none, label %end, label %some
some:
  %upper = getelementptr i8, ptr %pool, i64 4
  call void @wake(ptr %upper)
  br label %end
end:
  ret void
}}

define internal void @publish(ptr %pool, i64 %tasks) {{
  %old = load atomic i64, ptr %pool monotonic, align 8
  %old.number = lshr i64 %old, 32
  %number = add i64 %old.number, 1
  %above = shl i64 %number, 32
  %ticket = or i64 %above, %tasks
  %was = atomicrmw xchg ptr %pool, i64 %ticket seq_cst
  call void @rouse(ptr %pool)
  ret void
}}

; Give a job to all threads, take part, and wait for its last task.
define internal void @share(
    ptr %pool, ptr %kernel, ptr %args, i64 %tasks, ptr %scratch) noinline {{
entry:
  %done.at = getelementptr i8, ptr %pool, i64 {DONE}
  %kernel.at = getelementptr i8, ptr %pool, i64 {JOB}
  %args.at = getelementptr i64, ptr %kernel.at, i64 1
  %tasks.at = getelementptr i64, ptr %kernel.at, i64 2
  store ptr %kernel, ptr %kernel.at
  store ptr %args, ptr %args.at
  store i64 %tasks, ptr %tasks.at
  store atomic i64 0, ptr %done.at monotonic, align 8
  call void @publish(ptr %pool, i64 %tasks)
  call void @help(ptr %pool, ptr %scratch)
  br label %wait
wait:
  %turn = phi i32 [0, %entry], [%turns, %pause]
  %done = load atomic i64, ptr %done.at acquire, align 8
  %all = icmp eq i64 %done, %tasks
  br i1 %all, label %end, label %relax
relax:
  {pause}
  %turns = add i32 %turn, 1
  %low = and i32 %turns, 4095
  %long = icmp eq i32 %low, 0
  br i1 %long, label %yield, label %pause
yield:
  call i32 @sched_yield()
  br label %pause
pause:
  br label %wait
end:
  ret void
}}

define i64 @acquire(ptr %pool) {{
  %lock = getelementptr i8, ptr %pool, i64 {LOCK}
  %taken = cmpxchg ptr %lock, i64 0, i64 1 acquire monotonic
  %mine = extractvalue {{i64, i1}} %taken, 1
  %result = zext i1 %mine to i64
  ret i64 %result
}}

define void @release(ptr %pool) {{
  %lock = getelementptr i8, ptr %pool, i64 {LOCK}
  store atomic i64 0, ptr %lock release, align 8
  ret void
}}

; Tell the workers to stop, also those who sleep.
define void @dismiss(ptr %pool) {{
  %stop = getelementptr i8, ptr %pool, i64 {STOP}
  store atomic i64 1, ptr %stop seq_cst, align 8
  call void @publish(ptr %pool, i64 0)
  ret void
}}
"""
