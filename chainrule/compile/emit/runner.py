"""The native side of running a program, as the text of one module.

`run` is a Python function (METH_FASTCALL) whose `self` is the call, an int64 array laid out as
`CALL` says, and whose arguments are the NumPy arrays of the inputs. It puts their data pointers
into the argument slots, lets go of the interpreter's lock, and walks the thunks, of which it gives
those that are parallel to the `workers`. `alone` does the same without them.
"""

from __future__ import annotations

from chainrule.compile.emit import workers

# The words (int64) of a call.
CALL = (
    "pool",  # address of the pool's state
    "thunks",  # address of quadruples: kernel, arguments, tasks, flags
    "thunk_count",
    "patches",  # address of triples: slot, number of an input, offset in bytes
    "patch_count",
    "inputs",  # how many arrays the function takes
    "status",  # address of a word, or 0
    "stamps",  # address of thunk_count + 1 words for times in nanoseconds, or 0
    "scratch",  # bytes of scratch that a kernel wants
    "parallel",  # 1 when a thunk is parallel
    "busy",  # 1 while the call runs
)
PARALLEL, COMMITS = 1, 2  # flags of a thunk

# What `run` gives back instead of a status.
UNPREPARED, IN_USE = -1, -2


def source(architecture: str) -> str:
    """The module's text for a processor and this operating system."""
    places = {f"CALL_{name.upper()}": 8 * i for i, name in enumerate(CALL)}
    data = object.__basicsize__  # behind a Python object's header NumPy keeps the data pointer
    own = _TEMPLATE.format_map({**vars(workers), **globals(), **places, "data": data})
    return workers.source(architecture) + own


_TEMPLATE = """
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare void @PyErr_BadInternalCall()

; Walk the thunks of a call; without a pool (null) all on this thread.
define internal i64 @walk(ptr %call, ptr %pool, ptr %scratch) noinline {{
entry:
  %thunks.at = getelementptr i8, ptr %call, i64 {CALL_THUNKS}
  %count.at = getelementptr i8, ptr %call, i64 {CALL_THUNK_COUNT}
  %status.at = getelementptr i8, ptr %call, i64 {CALL_STATUS}
  %stamps.at = getelementptr i8, ptr %call, i64 {CALL_STAMPS}
  %thunks = load ptr, ptr %thunks.at
  %count = load i64, ptr %count.at
  %own = alloca i64
  %given = load ptr, ptr %status.at
  %no.status = icmp eq ptr %given, null
  %status = select i1 %no.status, ptr %own, ptr %given
  store i64 0, ptr %status
  %stamps = load ptr, ptr %stamps.at
  %timed = icmp ne ptr %stamps, null
  br label %next
next:
  %i = phi i64 [0, %entry], [%i.next, %step]
  br i1 %timed, label %stamp, label %test
stamp:
  %time = call i64 @now()
  %stamp.at = getelementptr i64, ptr %stamps, i64 %i
  store i64 %time, ptr %stamp.at
  br label %test
test:
  %more = icmp ult i64 %i, %count
  br i1 %more, label %thunk, label %end
thunk:
  %at = getelementptr [4 x i64], ptr %thunks, i64 %i
  %args.at = getelementptr i64, ptr %at, i64 1
  %tasks.at = getelementptr i64, ptr %at, i64 2
  %flags.at = getelementptr i64, ptr %at, i64 3
  %kernel = load ptr, ptr %at
  %args = load ptr, ptr %args.at
  %tasks = load i64, ptr %tasks.at
  %flags = load i64, ptr %flags.at
  %commits.bit = and i64 %flags, {COMMITS}
  %commits = icmp ne i64 %commits.bit, 0
  br i1 %commits, label %check, label %choose
check:
  %state = load atomic i64, ptr %status monotonic, align 8
  %sound = icmp eq i64 %state, 0
  br i1 %sound, label %choose, label %end
choose:
  %parallel.bit = and i64 %flags, {PARALLEL}
  %parallel = icmp ne i64 %parallel.bit, 0
  %pooled = icmp ne ptr %pool, null
  %shared = and i1 %parallel, %pooled
  br i1 %shared, label %share, label %serial
share:
  call void @share(ptr %pool, ptr %kernel, ptr %args, i64 %tasks, ptr %scratch)
  br label %step
serial:
  %task = phi i64 [0, %choose], [%task.next, %do]
  %undone = icmp ult i64 %task, %tasks
  br i1 %undone, label %do, label %step
do:
  call void %kernel(ptr %args, i64 %task, ptr %scratch)
  %task.next = add i64 %task, 1
  br label %serial
step:
  %i.next = add i64 %i, 1
  br label %next
end:
  %result = load atomic i64, ptr %status monotonic, align 8
  ret i64 %result
}}

; Put the inputs' data pointers into the argument slots.
define internal void @patch(ptr %call, ptr %arrays) {{
entry:
  %patches.at = getelementptr i8, ptr %call, i64 {CALL_PATCHES}
  %count.at = getelementptr i8, ptr %call, i64 {CALL_PATCH_COUNT}
  %patches = load ptr, ptr %patches.at
  %count = load i64, ptr %count.at
  br label %next
next:
  %i = phi i64 [0, %entry], [%i.next, %one]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %end
one:
  %at = getelementptr [3 x i64], ptr %patches, i64 %i
  %input.at = getelementptr i64, ptr %at, i64 1
  %offset.at = getelementptr i64, ptr %at, i64 2
  %slot = load ptr, ptr %at
  %input = load i64, ptr %input.at
  %offset = load i64, ptr %offset.at
  %array.at = getelementptr ptr, ptr %arrays, i64 %input
  %array = load ptr, ptr %array.at
  %data.at = getelementptr i8, ptr %array, i64 {data}
  %data = load ptr, ptr %data.at
  %pointer = getelementptr i8, ptr %data, i64 %offset
  store ptr %pointer, ptr %slot
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}}

; Take the call for this thread, if the number of arrays is right. The result is 0 where it is not,
; 1 where another thread runs it, else 2.
define internal i32 @begin(ptr %call, i64 %given, i64 %more) {{
entry:
  %inputs.at = getelementptr i8, ptr %call, i64 {CALL_INPUTS}
  %busy.at = getelementptr i8, ptr %call, i64 {CALL_BUSY}
  %inputs = load i64, ptr %inputs.at
  %expected = add i64 %inputs, %more
  %right = icmp eq i64 %given, %expected
  br i1 %right, label %claim, label %wrong
wrong:
  call void @PyErr_BadInternalCall()
  ret i32 0
claim:
  %claimed = cmpxchg ptr %busy.at, i64 0, i64 1 acquire monotonic
  %free = extractvalue {{i64, i1}} %claimed, 1
  %code = select i1 %free, i32 2, i32 1
  ret i32 %code
}}

define internal ptr @finish(ptr %call, i64 %result) {{
  %busy.at = getelementptr i8, ptr %call, i64 {CALL_BUSY}
  store atomic i64 0, ptr %busy.at release, align 8
  %code = call ptr @PyLong_FromLongLong(i64 %result)
  ret ptr %code
}}

; The call on this thread and nothing of the pool's: the last array is scratch.
define ptr @alone(ptr %self, ptr %arrays, i64 %given) {{
entry:
  %call.at = getelementptr i8, ptr %self, i64 {data}
  %call = load ptr, ptr %call.at
  %begun = call i32 @begin(ptr %call, i64 %given, i64 1)
  switch i32 %begun, label %go [i32 0, label %wrong
                                i32 1, label %in.use]
wrong:
  ret ptr null
in.use:
  %code.in.use = call ptr @PyLong_FromLongLong(i64 {IN_USE})
  ret ptr %code.in.use
go:
  %last = sub i64 %given, 1
  %array.at = getelementptr ptr, ptr %arrays, i64 %last
  %array = load ptr, ptr %array.at
  %data.at = getelementptr i8, ptr %array, i64 {data}
  %scratch = load ptr, ptr %data.at
  call void @patch(ptr %call, ptr %arrays)
  %thread = call ptr @PyEval_SaveThread()
  %status = call i64 @walk(ptr %call, ptr null, ptr %scratch)
  call void @PyEval_RestoreThread(ptr %thread)
  %code = call ptr @finish(ptr %call, i64 %status)
  ret ptr %code
}}

; The call with the pool's threads and scratch.
define ptr @run(ptr %self, ptr %arrays, i64 %given) {{
entry:
  %call.at = getelementptr i8, ptr %self, i64 {data}
  %call = load ptr, ptr %call.at
  %pool = load ptr, ptr %call
  %parallel.at = getelementptr i8, ptr %call, i64 {CALL_PARALLEL}
  %wish.at = getelementptr i8, ptr %call, i64 {CALL_SCRATCH}
  %lock = getelementptr i8, ptr %pool, i64 {LOCK}
  %active = getelementptr i8, ptr %pool, i64 {ACTIVE}
  %workers.at = getelementptr i8, ptr %pool, i64 {WORKERS}
  %wanted.at = getelementptr i8, ptr %pool, i64 {WANTED}
  %size.at = getelementptr i8, ptr %pool, i64 {SCRATCH_SIZE}
  %block = getelementptr i8, ptr %pool, i64 {SCRATCH}
  %begun = call i32 @begin(ptr %call, i64 %given, i64 0)
  switch i32 %begun, label %try [i32 0, label %wrong
                                 i32 1, label %in.use]
wrong:
  ret ptr null
in.use:
  %code.in.use = call ptr @PyLong_FromLongLong(i64 {IN_USE})
  ret ptr %code.in.use
try:
  %taken = cmpxchg ptr %lock, i64 0, i64 1 acquire monotonic
  %mine = extractvalue {{i64, i1}} %taken, 1
  br i1 %mine, label %prepared, label %unprepared
prepared:
  %wish = load i64, ptr %wish.at
  %size = load i64, ptr %size.at
  %roomy = icmp ule i64 %wish, %size
  %parallel = load i64, ptr %parallel.at
  %serial = icmp eq i64 %parallel, 0
  %workers = load i64, ptr %workers.at
  %wanted = load i64, ptr %wanted.at
  %staffed = icmp eq i64 %workers, %wanted
  %manned = or i1 %serial, %staffed
  %ready = and i1 %roomy, %manned
  br i1 %ready, label %go, label %unlock
unlock:
  store atomic i64 0, ptr %lock release, align 8
  br label %unprepared
unprepared:
  %code.unprepared = call ptr @finish(ptr %call, i64 {UNPREPARED})
  ret ptr %code.unprepared
go:
  call void @patch(ptr %call, ptr %arrays)
  %scratch = load ptr, ptr %block
  %nobody = icmp eq i64 %workers, 0
  %single = or i1 %serial, %nobody
  %thread = call ptr @PyEval_SaveThread()
  br i1 %single, label %by.one, label %by.all
by.one:
  %status.one = call i64 @walk(ptr %call, ptr null, ptr %scratch)
  br label %ran
by.all:
  store atomic i64 1, ptr %active monotonic, align 8
  call void @rouse(ptr %pool)
  %status.all = call i64 @walk(ptr %call, ptr %pool, ptr %scratch)
  store atomic i64 0, ptr %active monotonic, align 8
  br label %ran
ran:
  %status = phi i64 [%status.one, %by.one], [%status.all, %by.all]
  store atomic i64 0, ptr %lock release, align 8
  call void @PyEval_RestoreThread(ptr %thread)
  %code = call ptr @finish(ptr %call, i64 %status)
  ret ptr %code
}}
"""
