"""Running a script in a process of its own, which diagnoses itself and hands the diagnosis back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.tensor.locate import explained

GRACE = 120.0
"""Seconds that a script's process may take beyond its own time and the trials: to import, to stop,
and for the rules."""
_ROOT = Path(__file__).resolve().parents[4]


@explained
def run_script(
    path: str | Path,
    args: Sequence[str] = (),
    *,
    budget: float = 30.0,
    seconds: float = 600.0,
    memory: int | None = None,
    rules: Sequence[str | Path] = (),
) -> Diagnosis:
    """Run a script that trains a network of chainrule or PyTorch, unchanged, and diagnose it.

    It runs as `python script.py` would in the script's own folder, in a process of its own, and
    what it prints is seen. Every model that it trains is watched; the diagnosis is of the one that
    makes the most steps, and is made when the script ends, fails, is interrupted or has had its
    time. What goes wrong in the script is a finding, never an exception.

    Args:
        args: the script's own arguments.
        budget: seconds for trying remedies; 0 tries none.
        seconds: the script is stopped after so many, and judged by what was seen.
        memory: bytes of data that the script may have; more is refused it.
        rules: files of further rules.

    Raises:
        DataError: there is no such script.
        ChainruleError: the diagnosis itself failed.
    """
    script = Path(path).resolve()
    if not script.is_file():
        raise DataError(f"there is no script {path}")
    with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
        result = Path(folder) / "diagnosis.json"
        asked = {
            "script": str(script),
            "args": list(map(str, args)),
            "budget": float(budget),
            "seconds": float(seconds),
            "memory": memory,
            "rules": [str(Path(rule).resolve()) for rule in rules],
            "result": str(result),
        }
        began = time.monotonic()
        status = _run(asked, script, seconds + budget + GRACE)
        if result.exists():
            found = Diagnosis.from_dict(json.loads(result.read_text(encoding="utf-8")))
        elif status == FAILED:
            raise ChainruleError(f"{script.name} ran, and diagnosing it failed, as said above")
        else:
            found = _ended(script, status, time.monotonic() - began)
    found.about["subject"] = str(path)
    return found


FAILED = 97
"""The status of a process whose diagnosis failed: a fault of this library."""


def _run(asked: dict[str, Any], script: Path, longest: float) -> int | None:
    """The status of the script's process; None where it had to be killed."""
    # The child's first path is the script's folder, as Python's own rule is; the library is found
    # before that.
    code = (
        f"import sys; sys.path.insert(0, {str(_ROOT)!r}); import chainrule; "
        f"sys.path[:2] = [{str(script.parent)!r}]; "
        "from chainrule.lens.diagnose.script.child import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(asked)], cwd=script.parent, env=_environment()
    ) as process:
        end, interrupted = time.monotonic() + longest, False
        while True:
            try:
                return process.wait(max(end - time.monotonic(), 0.1))
            except KeyboardInterrupt:
                # The script's process is interrupted as well, and judges what it saw.
                if interrupted:
                    process.kill()
                    raise
                interrupted = True
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return None


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _ended(script: Path, status: int | None, seconds: float) -> Diagnosis:
    """The diagnosis of a process that ended without one."""
    if status is None:
        claim = (
            f"{script.name} did not stop when its time was over; it was ended at {seconds:.0f} s"
        )
        cause = "what runs in compiled code for long, or catches every exception, cannot be stopped"
    elif status < 0:
        name = signal.Signals(-status).name
        claim = f"{script.name} was ended by the system with {name} after {seconds:.0f} s"
        cause = {
            "SIGKILL": "the system ends a process that takes more memory than there is",
            "SIGSEGV": "an extension module wrote where it may not",
        }.get(name, "a signal from outside, or from an extension module")
    else:
        claim = f"{script.name} ended its own process with status {status}"
        cause = "os._exit leaves no time to look at what was trained"
    evidence = [Measured("seconds until then", round(seconds, 1))]
    finding = Finding("script-error", script.name, claim, evidence, cause, "error", 0.95)
    return Diagnosis([finding], [("script-error", "whether the script runs to its end")])
