"""A diagnosis as text: plain, or in a terminal with colours, as wide as the terminal is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import shown

if TYPE_CHECKING:
    from chainrule.lens.diagnose.diagnosis import Diagnosis

STYLES = {"error": "bold red", "warning": "bold yellow", "advice": "bold cyan"}
_LABEL = 10
_MOST_MODEL = 100


@dataclass(frozen=True)
class Line:
    """One line, before it is wrapped: `label` stands in a column of its own."""

    text: str = ""
    label: str = ""
    style: str = ""
    depth: int = 0

    @property
    def prefix(self) -> str:
        label = f"{self.label:{_LABEL}}" if self.label else " " * (_LABEL if self.depth > 1 else 0)
        return "  " * min(self.depth, 1) + label

    def plain(self) -> str:
        return f"{self.prefix}{self.text}".rstrip()


def text(diagnosis: Diagnosis) -> str:
    """Plain text."""
    return "\n".join(line.plain() for line in lines(diagnosis))


def rich(diagnosis: Diagnosis) -> Any:
    """What rich prints: in colours, and as wide as the terminal is."""
    return _Shown(list(lines(diagnosis)))


@dataclass(frozen=True)
class _Shown:
    lines: list[Line]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for line in self.lines:
            body, rest = Text(line.text, line.style), " " * len(line.prefix)
            if not console.is_terminal:
                yield Text.assemble(line.prefix, body, no_wrap=True, overflow="ignore")
                continue
            wrapped = body.wrap(console, max(20, options.max_width - len(rest))) or [Text()]
            for i, part in enumerate(wrapped):
                yield Text.assemble((rest if i else line.prefix, "dim"), part)


def lines(diagnosis: Diagnosis) -> Iterator[Line]:
    """The lines of a report."""
    for label, said in head(diagnosis):
        yield Line(said, label, "dim")
    yield Line()
    style = "bold green" if diagnosis.healthy else "bold red"
    yield Line(diagnosis.verdict(), style=style)
    for number, finding in enumerate(diagnosis.findings, 1):
        yield Line()
        yield from _finding(number, finding)
    if diagnosis.together is not None and len(diagnosis.together.rules) > 1:
        yield Line()
        yield Line("Together", style="bold")
        yield Line(diagnosis.together.change.title, "remedy", "bold", depth=2)
        yield Line(diagnosis.together.trial.sentence(), "trial", depth=2)
    yield Line()
    if not diagnosis.findings:
        yield Line("Looked at:")
        for rule, what in diagnosis.looked_at:
            yield Line(f"{rule}: {what}", depth=1)
    else:
        yield Line(f"{len(diagnosis.looked_at)} rules were asked.", style="dim")
    if diagnosis.advice is not None:
        yield Line()
        yield Line("Would another network learn better?", style="bold")
        for row in str(diagnosis.advice).splitlines():
            yield Line(row, depth=1)
    if diagnosis.measurements is not None:
        yield Line()
        yield Line("Measured", style="bold")
        for row in str(diagnosis.measurements).splitlines():
            yield Line(row, depth=1)
    for why, rules in not_looked_at(diagnosis):
        yield Line(f"not looked at, since {why}: {', '.join(rules)}", style="dim")
    if diagnosis.seconds:
        yield Line(times(diagnosis), style="dim")


def head(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """(label, what was run): none where nothing could be."""
    about = diagnosis.about
    if "subject" in about:
        note = f" ({about['note']})" if "note" in about else ""
        yield "subject", f"{about['subject']}{note}"
    if "model" not in about:
        return
    model = " ".join(about["model"].split())
    if len(model) > _MOST_MODEL:
        model = model[: _MOST_MODEL - 2] + " …"
    yield "model", f"{model}, {about['parameters']:,} parameters"
    yield "loss", about["loss"]
    yield "optimiser", about["optimizer"]
    held = number(about["held_out"])
    yield "rows", f"{number(about['rows'])} to train on, {held} held out"
    asked = about["steps_asked"]
    short = "" if not 0 < about["steps"] < asked else f"; it stopped before the {asked:,} asked for"
    yield (
        "run",
        (
            f"{about['steps']:,} steps of {min(about['batch_size'], about['rows'])} rows "
            f"({about['epochs']} epoch{'s' * (about['epochs'] != 1)}){short}"
        ),
    )
    trace = diagnosis.trace
    if trace is not None and len(trace.losses):
        chance = about.get("chance")
        by = f" (by a constant answer {number(chance)})" if chance is not None else ""
        first, last = (number(float(trace.losses[i])) for i in (0, -1))
        yield "loss went", f"{first} → {last}{by}"


def _finding(position: int, finding: Finding) -> Iterator[Line]:
    yield Line(
        f"{position}. {finding.rule} at {shown(finding.where)} ({finding.severity})",
        style=STYLES[finding.severity],
    )
    yield Line(finding.claim, depth=1)
    for label, said in zip(
        ["evidence", *[""] * len(finding.evidence)], evidence(finding.evidence), strict=False
    ):
        yield Line(said, label, depth=2)
    if finding.cause:
        yield Line(finding.cause, "cause", depth=2)
    yield from _remedy(finding)
    for i, row in enumerate(finding.diff.splitlines()):
        yield Line(row, "" if i else "diff", depth=2)
    if finding.trial is not None:
        yield Line(finding.trial.sentence(), "trial", depth=2)


def _remedy(finding: Finding) -> Iterator[Line]:
    remedy = finding.remedy
    if remedy is None:
        if finding.remedies:
            tried = "; ".join(change.title for change in finding.remedies)
            yield Line(f"none recommended: tried without gain: {tried}", "remedy", depth=2)
        return
    yield Line(remedy.title, "remedy", "bold", depth=2)
    for row in remedy.code.splitlines():
        if row.strip() != remedy.title:
            yield Line(row, depth=2)


def evidence(measured: Sequence[Measured]) -> Iterator[str]:
    """`what = value (expected …; how)`, a line for each number."""
    for m in measured:
        aside = "; ".join(part for part in (m.expected and f"expected {m.expected}", m.how) if part)
        yield f"{m.what}: {number(m.value)}{f'  ({aside})' if aside else ''}"


def not_looked_at(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """(why, the rules that were not asked for that reason)."""
    found: dict[str, list[str]] = {}
    for rule, why in diagnosis.not_looked_at:
        found.setdefault(why, []).append(rule)
    return list(found.items())


def times(diagnosis: Diagnosis) -> str:
    """What took how long."""
    s = diagnosis.seconds
    said = (
        f"{s['run']:.1f} s for the run; findings took {s['measuring'] + s['rules']:.1f} s"
        f" ({s['measuring']:.1f} to measure, {s['rules']:.1f} for the rules)"
    )
    if diagnosis.budget:
        said += f"; trials {s['trials']:.1f} of at most {diagnosis.budget:.0f} s"
    return said


def number(value: Any) -> str:
    """A number for people.

    >>> number(0.000123456), number(1797), number(float("nan")), number("0 of 32")
    ('0.0001235', '1,797', 'NaN', '0 of 32')
    """
    if isinstance(value, bool | str) or value is None:
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.4g}".replace("-", "−")
