"""The script's own process: runs it watched, then diagnoses what it trained, in place."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.script.diff import diff_of
from chainrule.lens.diagnose.script.faults import crashed, not_trained, stopped
from chainrule.lens.diagnose.script.running import FAILED
from chainrule.lens.diagnose.script.watching import Watching


class TimeOver(BaseException):
    """The script's time is over. No `except Exception` of the script's catches it."""


def main() -> None:
    """What the process does; its only argument says what is asked."""
    asked = json.loads(sys.argv[1])
    if asked["memory"]:
        _limit_memory(asked["memory"])
    try:
        _write(diagnosed(asked), Path(asked["result"]))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)


def diagnosed(asked: dict[str, Any]) -> Diagnosis:
    """Run the script in this process, and say what is wrong with what it trains."""
    script = Path(asked["script"])
    sys.argv = [str(script), *asked["args"]]
    watching = Watching()
    module, error, seconds = _ran(script, watching, asked["seconds"])
    found = _diagnosis(watching, script, error, asked)
    spent = {"run": seconds, "measuring": 0.0, "rules": 0.0, "trials": 0.0}
    found.seconds = {**spent, **found.seconds}
    del module  # its names live as long as its model is looked at
    return found


def _ran(
    script: Path, watching: Watching, seconds: float
) -> tuple[types.ModuleType, BaseException | None, float]:
    """Run the script as Python's main module: (the module, what it raised, how long it took)."""
    module = types.ModuleType("__main__")
    module.__file__ = str(script)
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    began = time.perf_counter()
    error: BaseException | None = None
    try:
        with watching, _alarm(seconds):
            source = script.read_bytes()
            exec(compile(source, str(script), "exec"), module.__dict__)
    except SystemExit as end:
        if end.code not in (None, 0):
            error = end
    except BaseException as raised:
        error = raised
        if not isinstance(raised, TimeOver | KeyboardInterrupt):
            _show(raised)
    sys.stdout.flush()
    return module, error, time.perf_counter() - began


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises `TimeOver` in the block when it has taken so many seconds, and again every second
    after, should the script have caught it."""

    def over(*_: Any) -> None:
        raise TimeOver

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _diagnosis(
    watching: Watching, script: Path, error: BaseException | None, asked: dict[str, Any]
) -> Diagnosis:
    from chainrule.lens.diagnose.diagnose import about
    from chainrule.lens.diagnose.rules.rule import load_rules

    load_rules(asked["rules"])
    watch = watching.main()
    if watch is not None:
        watch.trace.finished = error is None
    if watch is None or watch.first is None:
        found = Diagnosis()
    else:
        found = watch.diagnose(0.0 if _fault(error) else asked["budget"])
        if watch.rows.joined() is not None:
            found.about |= {**about(watch.case()), "steps_asked": watch.step}
    if _fault(error):
        assert error is not None
        own = [crashed(error, script, watching)]
        found.findings = [*own, *(f for f in found.findings if f.rule != own[0].rule)]
    elif watch is None or watch.first is None:
        found.findings = [not_trained(watching, script, error)]
    elif isinstance(error, TimeOver | KeyboardInterrupt):
        found.findings = [*found.findings, stopped(watch, script, isinstance(error, TimeOver))]
    found.looked_at = [*found.looked_at, ("script-error", "whether the script runs to its end")]
    _with_diffs(found, script)
    return found


def _fault(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, TimeOver | KeyboardInterrupt)


def _with_diffs(found: Diagnosis, script: Path) -> None:
    """Each remedy that can be written into the script shows how."""
    source = script.read_text(encoding="utf-8", errors="replace")
    for finding in found.findings:
        remedy = finding.remedy
        if remedy is not None:
            finding.in_script = diff_of(remedy, source, script.name, finding.setup)


def _show(error: BaseException) -> None:
    """The traceback that Python would show: without the lines of what watches."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    while part is not None:
        lines = [line for line in part.stack if not line.filename.startswith(_OWN)]
        part.stack = traceback.StackSummary.from_list(lines)
        part = part.__cause__ or part.__context__
    print("".join(told.format()), end="", file=sys.stderr, flush=True)


_OWN = str(Path(__file__).resolve().parents[1])


def _limit_memory(size: int) -> None:
    """Of data, not of addresses: PyTorch reserves many more of these than it uses."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _write(found: Diagnosis, path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found.to_dict(), ensure_ascii=False), encoding="utf-8")
    part.rename(path)
