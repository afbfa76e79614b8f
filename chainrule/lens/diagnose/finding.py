"""A finding: a claim about a training run, its evidence, its cause, and what mends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.lens.diagnose.setup import Setup
    from chainrule.lens.diagnose.trials.trial import Trial

SEVERITIES = ("error", "warning", "advice")
"""error: it cannot work as it is; warning: it costs; advice: it might be better."""


@dataclass(frozen=True)
class Measured:
    """A number of the evidence, and what it should be.

    Attributes:
        what: such as "gradient of layer 0 ÷ gradient of layer 8".
        value: the number measured.
        expected: what a healthy run has, in words or a bound: "above 1e-3".
        how: how it was measured, in a few words.
    """

    what: str
    value: float | int | str
    expected: str = ""
    how: str = ""


@dataclass(frozen=True)
class Change:
    """A change of a setup, as a program.

    Attributes:
        title: in the imperative: "set the learning rate to 1e-3".
        apply: (setup) → the changed setup; the one given stays as it is.
        code: what to write, in the user's framework, where that is known: "optim.Adam(…, lr=1e-3)".
        kind: a family name, so that a random change can be drawn from the others and two findings
            with the same change share a trial: "rate:0.001".
        judged: whether held-out rows can tell if it helps: not where they have the same fault (a
            column that gives the target away).
    """

    title: str
    apply: Callable[[Setup], Setup] = field(repr=False, compare=False)
    code: str = ""
    kind: str = ""
    judged: bool = True

    def to_dict(self) -> dict[str, str]:
        """Plain data, for JSON: what it says, without the program."""
        return {"title": self.title, "code": self.code, "kind": self.kind}


@dataclass
class Finding:
    """What a rule found.

    Attributes:
        rule: its stable name, such as `vanishing-gradients`.
        where: a module path, a parameter, a data column, `loss`, `optimizer` or `data`.
        claim: one sentence, with the main number in it.
        evidence: the numbers.
        cause: the mathematics of why, with this network's numbers; a formula and its source.
        severity: "error", "warning" or "advice".
        strength: 0 to 1, how sure the rule is that this is a cause and not a consequence; orders
            findings before trials.
        remedies: changes that might mend it, the likeliest first.
        remedy: the one that helped most in its trial (the first before any trial); None where
            nothing is recommended.
        trial: what the trial gave; None where none was made.
        explains: names of rules whose findings are consequences of this one, if they are there too.
        in_script: the remedy as a unified diff of the user's script, where that is known.
    """

    rule: str
    where: str
    claim: str
    evidence: Sequence[Measured] = ()
    cause: str = ""
    severity: str = "warning"
    strength: float = 0.5
    remedies: Sequence[Change] = ()
    trial: Trial | None = None
    explains: tuple[str, ...] = ()
    setup: Setup | None = field(default=None, repr=False, compare=False)
    chosen: Change | None = field(default=None, repr=False)
    in_script: str = field(default="", repr=False)

    @property
    def remedy(self) -> Change | None:
        """The change that is recommended: after a trial the one that helped, if any did."""
        if self.trial is not None:
            return self.chosen
        return self.chosen or (self.remedies[0] if self.remedies else None)

    def apply(self) -> Setup:
        """The setup with the remedy applied: a new model, loss and optimiser; the user's own stay
        as they are."""
        from chainrule.errors import ChainruleError

        if self.remedy is None or self.setup is None:
            raise ChainruleError(f"{self.rule} at {self.where} has no remedy that can be applied")
        return self.remedy.apply(self.setup)

    @property
    def diff(self) -> str:
        """What the remedy changes: of the user's script, or else as a unified diff of model, loss,
        optimiser, loop and data in words; "" where there is no remedy that can be applied."""
        from chainrule.lens.diagnose.described import diff

        if self.in_script:
            return self.in_script
        return "" if self.remedy is None or self.setup is None else diff(self.setup, self.remedy)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "rule": self.rule,
            "where": self.where,
            "severity": self.severity,
            "strength": self.strength,
            "claim": self.claim,
            "evidence": [vars(m) for m in self.evidence],
            "cause": self.cause,
            "remedy": None if self.remedy is None else self.remedy.to_dict(),
            "remedies": [change.to_dict() for change in self.remedies],
            "trial": None if self.trial is None else self.trial.to_dict(),
            "explains": list(self.explains),
            "diff": self.diff,
        }
