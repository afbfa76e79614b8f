"""How many mismatches the static rules of `diagnose` find before the first step, and how quickly.

    python -m benchmarks.diagnosis_static

Each mismatch is a network of a few layers that contradicts its data or its loss, with the rules
that are right to say so; each healthy network is one that they must be silent about.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.diagnosis_static import HEALTHY, MISMATCHES, findings


def main() -> None:
    """Print how many are found, how many false alarms there are, and milliseconds per network."""
    first = missed = alarms = 0
    times = []
    for example in MISMATCHES:
        case = example.case()
        began = time.process_time()
        found = findings(case)
        times.append(time.process_time() - began)
        alarmed = [f.rule for f in found if f.severity != "advice"]
        first += bool(alarmed) and alarmed[0] in example.rules
        missed += example.rules.isdisjoint(alarmed)
        if not alarmed or alarmed[0] not in example.rules:
            print(f"  {example.name}: {alarmed}, not {sorted(example.rules)}")
    for example in HEALTHY:
        case = example.case()
        began = time.process_time()
        alarmed = [f.rule for f in findings(case) if f.severity != "advice"]
        times.append(time.process_time() - began)
        alarms += bool(alarmed)
        if alarmed:
            print(f"  {example.name} is healthy: {alarmed}")
    total = len(MISMATCHES)
    ms = 1e3 * np.array(times[len(times) // 10 :])
    print(
        f"mismatches found: {total - missed} of {total}; the right rule first: {first} of {total}"
    )
    print(f"false alarms: {alarms} of {len(HEALTHY)}")
    print(
        f"all static rules, the recorded pass included, on a network: median {np.median(ms):.1f} "
        "ms, "
        f"95 % below {np.percentile(ms, 95):.1f} ms of processor time"
    )


if __name__ == "__main__":
    main()
