"""One framework and one workload in a process of its own, told what to do line by line.

    python -m benchmarks.worker --framework torch_eager --workload tiny

answers each line of its standard input by one line of JSON:

    facts       versions and threads, or null where the framework is not installed
    results     up to 100 numbers of the result of each of the next three steps
    steps T     how many steps last about T seconds
    time N      seconds per step, over N steps
    first       seconds that the first step takes
    memory N    bytes that the process has grown by at most, over its imports, after N steps

Between lines it sleeps.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import numpy as np

from benchmarks import memory
from benchmarks.workloads import ALL


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", required=True)
    parser.add_argument("--workload", required=True, choices=ALL)
    options = parser.parse_args()
    answers = own_output()
    try:
        framework = importlib.import_module(f"benchmarks.frameworks.{options.framework}")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("benchmarks", "chainrule"):
            raise
        print("null", file=answers)
        return
    serve(lambda: framework.build(ALL[options.workload]), framework.facts, framework.LATER, answers)


def own_output() -> TextIO:
    """Standard output, for answers alone: what a framework prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def serve(
    make: Callable[[], Callable[[], Any]],
    facts: Callable[[], str],
    later: Sequence[str],
    answers: TextIO,
) -> None:
    """Answer commands about the step that `make` makes; `later` are modules that it imports."""
    build = functools.cache(make)
    for line in sys.stdin:
        match line.split():
            case ["facts"]:
                answer: Any = facts()
            case ["results"]:
                answer = [number for _ in range(3) for number in some(build()())]
            case ["steps", wanted]:
                answer = steps_of(build(), float(wanted))
            case ["time", count]:
                answer = seconds_per_step(build(), int(count))
            case ["first"]:
                step = build()
                answer = seconds(step, 1)
            case ["memory", count]:
                for name in later:
                    importlib.import_module(name)
                answer = memory.growth(lambda: seconds(build(), int(count)))
            case _:
                raise ValueError(f"not a command: {line!r}")
        print(json.dumps(answer), file=answers)


def some(result: Any) -> list[float]:
    flat = np.asarray(result).ravel()
    return flat[:: -(-flat.size // 100)].tolist()


def seconds(step: Callable[[], Any], count: int) -> float:
    """Seconds from the first call to the last one's result."""
    start = time.perf_counter()
    for _ in range(count):
        result = step()
    np.asarray(result)
    return time.perf_counter() - start


def steps_of(step: Callable[[], Any], wanted: float) -> int:
    count, took = 1, seconds(step, 1)
    while took < wanted / 4:
        count *= 2
        took = seconds(step, count)
    return max(1, round(count * wanted / took))


def seconds_per_step(step: Callable[[], Any], count: int) -> float:
    if count > 1:  # what the others left in the caches goes out first
        seconds(step, 1 + count // 10)
    return seconds(step, count) / count


if __name__ == "__main__":
    main()
