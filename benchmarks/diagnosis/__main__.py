"""Score `diagnose` on bugs, their mended twins and healthy runs:

    python -m benchmarks.diagnosis                       # everything, 5 seeds: the docs' table
    python -m benchmarks.diagnosis --half development --seeds 1
    python -m benchmarks.diagnosis --only 13,47,edge-of-stability --seeds 2 --trials

Cases run in processes of their own, each with one thread. `--json` keeps a record of every case;
`--write` puts the table into docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.diagnosis.measuring import Record, Task, measure
from benchmarks.diagnosis.runs import MISMATCHES, SEEDS, everything
from benchmarks.diagnosis.table import failures, markdown, verdicts, write

HEALTHY_SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.diagnosis", description=__doc__)
    parser.add_argument("--half", choices=("development", "scored", "healthy", "mismatch"))
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="13,7,moons",
                        help="numbers of bugs and names of other cases")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", action="store_true", help="try remedies, at the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--json", type=Path, help="a file for the record of each case, a line each, as they come"
    )
    parser.add_argument("--failures", type=Path,
                        help="a file for what failed, the scored half's excepted")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="put the table into docs/diagnose.md")
    options = parser.parse_args()

    asked = tasks(options.half, options.only, options.seeds, options.trials)
    if not asked:
        parser.error("nothing is called that")
    began = time.time()
    records = []
    with open(options.json or os.devnull, "w", encoding="utf-8") as kept:
        for record in _measured(asked, options.jobs):
            records.append(record)
            print(json.dumps(vars(record), default=str), file=kept, flush=True)
    about = (
        f"`python -m benchmarks.diagnosis {' '.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}, "
        f"{_machine()}, {time.time() - began:.0f} s with {options.jobs} processes."
    )
    text = markdown(records, about)
    print("\n".join(["", *verdicts(records), "", text]))
    if options.failures:
        options.failures.write_text("\n".join([about, "", *failures(records), ""]))
    if options.write and not write(text):
        sys.exit("docs/diagnose.md has no marks between which the table could stand")


def tasks(half: str | None, only: list[str] | None, seeds: int, trials: bool) -> list[Task]:
    """Every case that is asked for: bugs at all seeds, their twins at the first, healthy runs at
    three at most, mismatches in both frameworks."""
    bugs, kinds = everything()
    found = []
    for bug in bugs:
        if half not in (None, bug.half) or (only and str(bug.number) not in only):
            continue
        for variant in range(len(bug.variants)):
            found += [Task(s, bug.number, variant, trials=trials and s == 0) for s in range(seeds)]
            found.append(Task(0, bug.number, variant, mended=True))
    for kind in kinds:
        if half in (None, "healthy") and (not only or kind.name in only):
            found += [Task(s, name=kind.name) for s in range(min(seeds, HEALTHY_SEEDS))]
    for case in MISMATCHES:
        if half in (None, "mismatch") and (not only or case.name in only):
            found += [Task(s, name=case.name) for s in (0, 1)]
    return found


def _measured(asked: list[Task], jobs: int) -> Iterator[Record]:
    os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "CHAINRULE")})
    spawn, began = multiprocessing.get_context("spawn"), time.time()
    with spawn.Pool(jobs, maxtasksperchild=100) as pool:
        for i, plain in enumerate(pool.imap(measure, asked), 1):
            yield Record(**plain)
            left = (time.time() - began) / i * (len(asked) - i)
            print(f"\r{i}/{len(asked)}, {left:.0f} s left    ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _machine() -> str:
    from benchmarks.machine import _cpu

    return f"{_cpu()}, {len(os.sched_getaffinity(0))} CPUs"


if __name__ == "__main__":
    main()
