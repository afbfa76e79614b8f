"""One framework and one workload in a process of its own, told what to do line by line.

    python -m benchmarks.worker --framework torch_eager --workload tiny

answers each line of its standard input by one line of JSON:

    facts     versions and threads, or null where the framework is not installed
    losses    the losses of the next three steps
    time N    seconds per step, over N steps

Between lines it sleeps.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", required=True)
    parser.add_argument("--workload", required=True, choices=WORKLOADS)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a framework prints is not an answer

    try:
        framework = importlib.import_module(f"benchmarks.frameworks.{options.framework}")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("benchmarks", "chainrule"):
            raise
        print("null", file=answers)
        return
    step = framework.build(WORKLOADS[options.workload])
    for line in sys.stdin:
        match line.split():
            case ["facts"]:
                answer: Any = framework.facts()
            case ["losses"]:
                answer = [float(step()) for _ in range(3)]
            case ["time", count]:
                answer = seconds_per_step(step, int(count))
            case _:
                raise ValueError(f"not a command: {line!r}")
        print(json.dumps(answer), file=answers)


def seconds_per_step(step: Callable[[], Any], count: int) -> float:
    for _ in range(1 + count // 10):  # what the others left in the caches goes out first
        loss = step()
    float(loss)
    start = time.perf_counter()
    for _ in range(count):
        loss = step()
    float(loss)
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
