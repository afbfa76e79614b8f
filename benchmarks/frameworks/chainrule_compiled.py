"""chainrule with the whole step compiled into one native call."""

import os
from functools import partial

import chainrule as cr
from benchmarks.frameworks import chainrule_eager

build = partial(chainrule_eager.build, compiled=True)
LATER = ("llvmlite.binding", "llvmlite.ir")


def facts() -> str:
    return f"chainrule {cr.__version__}, {len(os.sched_getaffinity(0))} threads"
