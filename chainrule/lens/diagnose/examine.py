"""Asking every rule about a case, and ordering what they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.rules.rule import Rule, rules
from chainrule.tensor.products import on_one_thread


def examine(
    case: Case, stages: Iterable[str] = ("static", "live", "deep")
) -> tuple[list[Finding], list[tuple[str, str]], list[tuple[str, str]]]:
    """(findings in order, what was looked at, what could not be)."""
    found: list[Finding] = []
    case.found = found
    looked: list[tuple[str, str]] = []
    not_looked: list[tuple[str, str]] = []
    for stage in stages:
        for kind in rules(stage):
            if case.time_left <= 0 and stage == "deep":
                not_looked.append((kind.name, "the time was over"))
                continue
            missing = _ask(kind(), case, found)
            (not_looked if missing else looked).append((kind.name, missing or kind.looks_at))
    for finding in found:
        finding.setup = finding.setup or case.setup
    return ordered(found), looked, not_looked


class Missing(Exception):  # noqa: N818  (a state of things, caught by `examine`)
    """A rule raises it where what it needs is not there; its text says what."""


def _ask(rule: Rule, case: Case, found: list[Finding]) -> str:
    try:
        with on_one_thread():
            found.extend(rule.look(case))
    except Missing as missing:
        return str(missing)
    except Exception as error:  # of a rule, which is told; the others are asked all the same
        return f"the rule itself failed: {type(error).__name__}: {error}"
    return ""


SURE = 0.9
"""The strength of a contradiction that is proven from the graph or the data."""


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Causes before their consequences, then by belief and effect; advice last, unless it helped.

    What a rule believes is its strength, and half as much again for an error. A trial changes that:
    a remedy that helped adds the share of the error that it took away, one that did nothing leaves
    a third. A contradiction that is proven stays believed even so (a fault often hides behind
    another), unless another remedy alone repairs the run.
    """
    repaired = [f for f in findings if _gain(f) > 0.5]

    def key(f: Finding) -> tuple[bool, bool, float, str]:
        belief = f.strength + 0.5 * (f.severity == "error")
        proven = f.strength >= SURE and f.severity == "error"
        if _failed(f):
            proven = proven and not any(other is not f for other in repaired)
            belief *= 1 if proven else 0.3
        consequence = any(_explains(other, f) for other in findings)
        last = f.severity == "advice" and not _gain(f)
        return (last, consequence, -(belief + proven + _gain(f)), f.rule)

    return sorted(findings, key=key)


def _gain(f: Finding) -> float:
    """The share of the error that the remedy took away; 0 if it did not help."""
    if f.trial is None or not f.trial.helped:
        return 0.0
    return f.trial.gain / max(f.trial.gain + f.trial.error, 1e-9)


def _failed(f: Finding) -> bool:
    return f.trial is not None and f.trial.decided and not f.trial.helped


def _explains(cause: Finding, f: Finding) -> bool:
    """Whether a finding is a consequence of another one: its rule says so, and no trial says the
    opposite. Of two that explain each other the stronger one is the cause."""
    if cause is f or f.rule not in cause.explains or cause.rule == f.rule:
        return False
    if cause.severity == "advice" and f.severity != "advice":
        return False
    if _failed(cause) and _gain(f) > 0:
        return False
    return cause.rule not in f.explains or cause.strength > f.strength
