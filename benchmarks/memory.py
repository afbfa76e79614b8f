"""How much memory a process takes at most."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

PROCESS = Path("/proc/self")


def growth(run: Callable[[], object]) -> int:
    """Bytes by which the peak of the process while it runs `run` exceeds what it held before.

    Where the system cannot forget an earlier peak (it is not Linux), growth below that peak is not
    seen.
    """
    if not (PROCESS / "clear_refs").exists():
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    (PROCESS / "clear_refs").write_text("5")  # proc(5): the peak becomes what is held now
    before = _peak()
    run()
    return _peak() - before


def _peak() -> int:
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")
