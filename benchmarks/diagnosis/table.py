"""The table in docs/diagnose.md, and what is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.diagnosis.baselines import TOOLS
from benchmarks.diagnosis.measuring import Record
from benchmarks.diagnosis.rates import (
    Rate,
    degrades,
    first_right,
    in_three,
    layer_named,
    located,
    placed,
    rate,
    regained,
    same_first,
    static_found,
)

PAGE = Path(__file__).parents[2] / "docs" / "diagnose.md"
MARKS = ("<!-- benchmark -->", "<!-- /benchmark -->")


def verdicts(records: Sequence[Record]) -> list[str]:
    """Which bugs do not cost, and which healthy runs are not healthy: they count in no rate."""
    lines = [f"{r.label} seed {r.seed}: {r.failed}" for r in records if r.failed]
    for label in sorted({r.label for r in records if r.what == "bug"}):
        group = [r for r in records if r.label == label and r.what == "bug"]
        if not _costs(group):
            e, t = (np.nanmedian([getattr(r, a) for r in group]) for a in ("error", "twin_error"))
            lines.append(f"{label}: no cost: error {e:.3f}, mended {t:.3f}")
    for r in records:
        if r.what == "healthy" and not r.error <= r.good:
            lines.append(f"{r.label} seed {r.seed}: not healthy: error {r.error:.3f} > {r.good}")
    return lines


def counted(records: Sequence[Record]) -> list[Record]:
    """The records that count: variants of bugs that cost, their twins, runs that are healthy."""
    kept = []
    for label in sorted({r.label for r in records if r.what in ("bug", "twin")}):
        group = [r for r in records if r.label == label]
        bugs = [r for r in group if r.what == "bug"]
        if not bugs or _costs(bugs):
            kept += group
    well = [r for r in records if r.what == "healthy" and r.error <= r.good]
    return kept + well + [r for r in records if r.what == "mismatch"]


def _costs(group: Sequence[Record]) -> bool:
    verified = [r for r in group if np.isfinite(r.error) and np.isfinite(r.twin_error)]
    return sum(map(degrades, verified)) > len(verified) / 2


def markdown(records: Sequence[Record], about: str) -> str:
    """The table: development half, scored half, what was published, what was asked."""
    kept = counted(records)
    bugs = {h: [r for r in kept if r.what == "bug" and r.half == h]
            for h in ("scored", "development")}  # fmt: skip
    well = [r for r in kept if r.what == "healthy"]
    twins = [r for r in kept if r.what == "twin"]
    lines = [about, "", "| | best published | asked | scored half | development half |",
             "|---|---|---|---|---|"]  # fmt: skip

    def row(what: str, published: str, asked: str, of: Callable[..., Rate]) -> None:
        cells = [str(of(bugs[h])) for h in ("scored", "development")]
        lines.append(f"| {what} | {published} | {asked} | {cells[0]} | {cells[1]} |")

    row("bug detected", "94 %", "97 %", lambda b: rate(b, lambda r: r.alarm))
    row("right cause first", "63.5 % (any)", "85 %", lambda b: rate(b, first_right))
    row("right cause in first three", "", "95 %", lambda b: rate(b, in_three))
    row("place named (layer, parameter, loss, data, optimiser)", "64 %", "90 %",
        lambda b: rate(b, placed))  # fmt: skip
    row("layer or parameter named, of bugs that are in one", "", "",
        lambda b: rate(filter(located, b), layer_named))  # fmt: skip
    row("static mismatches found", "70.5 %", "100 %",
        lambda b: rate([r for r in b if r.static], static_found))  # fmt: skip
    listed = rate([r for r in kept if r.what == "mismatch"], static_found)
    lines.append(f"| static mismatches beside the bugs | | 100 % | {listed} | |")
    row("same first cause over seeds", "–", "95 %", same_first)
    if any(map(_tried, kept)):
        row("remedy regains 80 % of the gap", "–", "90 %",
            lambda b: rate(filter(_tried, b), lambda r: regained(r, _mended(r))))  # fmt: skip
        row("random search of the same time does", "–", "15 points less",
            lambda b: rate(filter(_tried, b), lambda r: regained(r, r.random)))  # fmt: skip
    wrong = rate(well, lambda r: r.alarm)
    lines += [
        f"| false alarms on healthy runs | 36 % | 2 % | {wrong} | |",
        f"| false alarms on mended twins | | | {rate(twins, lambda r: r.alarm)} | |",
        "",
        *_numbers(kept, well),
        f"Cases that ended in an exception: {sum(bool(r.failed) for r in records)}.",
        "",
        *_baselines(kept, well),
    ]
    return "\n".join(lines)


def _tried(record: Record) -> bool:
    return record.remedy is not None or bool(np.isfinite(record.random))


def _mended(record: Record) -> float:
    """The error with what is recommended; NaN where nothing is."""
    return float("nan") if record.remedy is None else float(record.remedy["error"])


def _numbers(kept: Sequence[Record], well: Sequence[Record]) -> list[str]:
    kinds = len({r.label for r in well})
    static = [r.static_ms for r in kept if np.isfinite(r.static_ms)]
    took = [
        r.seconds["rules"] + r.seconds["measuring"] <= max(10.0, 0.5 * r.seconds["run"])
        for r in kept
        if r.seconds
    ]
    share = [r.seconds["rules"] + r.seconds["measuring"] for r in kept if r.seconds]
    variants = len({r.label for r in kept if r.what == "bug"})
    numbers = len({r.cluster for r in kept if r.what == "bug"})
    text = (
        f"{numbers} bugs in {variants} variants; {kinds} kinds of healthy runs, {len(well)} runs."
    )
    said = [len(r.found) for r in kept if r.what == "bug"]
    if said:
        text += f" A bug has {np.mean(said):.1f} findings above advice on average."
    if static:
        text += (
            f" Static rules took {np.median(static):.1f} ms in the median case, "
            f"{np.quantile(static, 0.95):.1f} ms at the 95th percentile."
        )
    if took:
        text += (
            f" Findings without trials took {np.median(share):.2f} s (median), and kept to half of "
            f"the run or 10 s in {100 * np.mean(took):.1f} % of the cases."
        )
    return [
        text,
        "Intervals are Wilson's, then with bugs (kinds) resampled as clusters, 95 % each.",
    ]


def _baselines(kept: Sequence[Record], well: Sequence[Record]) -> list[str]:
    lines = [
        "Published rules, with their thresholds, on the same traces (all bugs):",
        "",
        "| | bug detected | a right cause among the alarms | false alarms on healthy runs |",
        "|---|---|---|---|",
    ]
    bugs = [r for r in kept if r.what == "bug"]

    def short(found: Rate) -> str:
        return f"{100 * found.value:.1f} % ({found.hits}/{found.cases})" if found.cases else "–"

    def line(name: str, said: Callable[[Record], Sequence[str]]) -> None:
        cells = (
            rate(bugs, lambda r: bool(said(r))),
            rate(bugs, lambda r: bool(set(said(r)) & set(r.rules))),
            rate(well, lambda r: bool(said(r))),
        )
        lines.append(f"| {name} | " + " | ".join(map(short, cells)) + " |")

    for name in TOOLS:
        line(name, _alarms_of(name))
    line("chainrule", lambda r: r.found)
    return lines


def _alarms_of(tool: str) -> Callable[[Record], Sequence[str]]:
    return lambda r: r.alarms.get(tool, [])


def failures(records: Sequence[Record]) -> list[str]:
    """What went wrong, a line each: to mend rules by, so of the development half and of healthy
    runs only."""
    lines = []
    for r in [*counted(records), *(r for r in records if r.failed)]:
        said = [f"{f['rule']}@{f['where']}({f['severity'][0]}{f['strength']:.2f})"
                for f in r.findings if f["severity"] != "advice"]  # fmt: skip
        case = f"{r.label} [{r.framework}] seed {r.seed}"
        if r.failed:
            lines.append(f"EXCEPTION {case}: {r.failed}")
        elif r.what == "mismatch":
            if not static_found(r):
                lines.append(f"STATIC MISSED {case}: said {r.first_static}; want {r.rules}")
        elif r.what != "bug":
            if r.alarm:
                lines.append(f"FALSE ALARM {r.what} {case} (error {r.error:.3f}): {'; '.join(said)}"
                             + "".join(f"\n      {f['claim']}" for f in r.findings
                                       if f["severity"] != "advice"))  # fmt: skip
        elif r.half == "development":
            wants = "/".join(r.rules)
            if not r.alarm:
                lines.append(f"MISSED {case} (error {r.error:.3f}, mended {r.twin_error:.3f}): "
                             f"want {wants}")  # fmt: skip
            elif not first_right(r):
                rank = "3" if in_three(r) else "not in three"
                lines.append(f"NOT FIRST ({rank}) {case}: said {'; '.join(said[:5])}; want {wants}")
            elif not placed(r):
                lines.append(f"PLACE {case}: said {said[0]}; want one of {', '.join(r.places)}")
            if r.static and not static_found(r):
                lines.append(f"STATIC MISSED {case}: said {r.first_static}; want {wants}")
            if _tried(r) and not regained(r, _mended(r)):
                title = r.remedy["title"] if r.remedy else "nothing"
                lines.append(f"REMEDY {case}: {title}: {r.error:.3f} → {_mended(r):.3f}, mended "
                             f"{r.twin_error:.3f}, random {r.random:.3f}")  # fmt: skip
    return sorted(lines)


def write(text: str) -> bool:
    """Put the table between the page's marks; whether the page has them."""
    if not PAGE.exists():
        return False
    page = PAGE.read_text(encoding="utf-8")
    if not all(mark in page for mark in MARKS):
        return False
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")
    return True
