"""A diagnosis: the findings, what they rest on, and what was looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.measure.slopes import Slope
from chainrule.lens.diagnose.naming import shown
from chainrule.lens.diagnose.trace import Trace

if TYPE_CHECKING:
    from chainrule.lens.diagnose.advice import Advice
    from chainrule.lens.diagnose.case import Case
    from chainrule.lens.diagnose.deep import Measurements
    from chainrule.lens.diagnose.setup import Setup
    from chainrule.lens.diagnose.trials.together import Together


@dataclass(repr=False)
class Diagnosis:
    """What is wrong with a training run, why, and what was tried to mend it.

    It is shown as text, in colours by a terminal, as a page in a notebook; `save` writes a page
    (.html), data (.json) or text (.txt).

    Attributes:
        findings: in order of effect, the first being the likeliest cause.
        looked_at: (rule, what it looks at) of every rule that could be asked.
        not_looked_at: (rule, why not) of those for which something was missing.
        trace: what was measured while training; None where nothing could be trained.
        seconds: {"run": …, "measuring": …, "rules": …, "trials": …}.
        budget: seconds allowed for trials, of which seconds["trials"] were used.
        about: facts for the head of the report, in words or numbers: "model", "parameters",
            "optimizer", "loss", "rows", "held_out", "columns", "task", "batch_size", "epochs",
            "steps", "steps_asked", "chance" (the loss that a constant answer reaches), "floor" (the
            least it can be); of a run or a script "subject" and "note".
        together: the changes that helped together, and their trial; None where none helped.
        setup: the run that was diagnosed; None where it could not be made, or was read from a file.
        advice: what `advise` found, once it was asked.
        slopes: how the gradient grows or shrinks from layer to layer at the first weights, with its
            weights' part and its activation's part.
        case: what the rules looked at; None where it was read from a file.
        measurements: what `measure` found, once it was asked.
    """

    findings: Sequence[Finding] = ()
    looked_at: Sequence[tuple[str, str]] = ()
    not_looked_at: Sequence[tuple[str, str]] = ()
    trace: Trace | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    budget: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    together: Together | None = field(default=None, compare=False)
    setup: Setup | None = field(default=None, compare=False)
    advice: Advice | None = field(default=None, compare=False)
    slopes: Sequence[Slope] = ()
    case: Case | None = field(default=None, compare=False)
    measurements: Measurements | None = field(default=None, compare=False)

    @property
    def healthy(self) -> bool:
        """Whether nothing above severity `advice` was found."""
        return all(f.severity == "advice" for f in self.findings)

    def __getitem__(self, rule: str) -> Finding:
        """The first finding of a rule.

        Raises:
            KeyError: the rule found nothing.
        """
        for finding in self.findings:
            if finding.rule == rule:
                return finding
        found = ", ".join(dict.fromkeys(f.rule for f in self.findings)) or "nothing"
        raise KeyError(f"{rule!r} found nothing; what was found: {found}")

    def fixed(self) -> Setup:
        """The setup with everything applied that helped: a new model, loss and optimiser; the
        user's own stay as they are. Where no trial says otherwise, the first finding's remedy.

        Raises:
            ChainruleError: nothing was found that could be applied.
        """
        finding = self._mendable
        if finding is None or finding.setup is None:
            raise ChainruleError("nothing was found that has a remedy which can be applied")
        if self.together is None:
            return finding.apply()
        return self.together.change.apply(finding.setup)

    def advise(self, budget: float = 60.0) -> Advice:
        """Whether other widths, depths, activations, rates, … would learn better: each is tried on
        the run that was diagnosed, for `budget` seconds in all. Reports show it from then on.

        Raises:
            ChainruleError: there is no run to try it on.
        """
        from chainrule.lens.diagnose.advice import advise
        from chainrule.lens.diagnose.frameworks.randomness import randomness_kept

        if self.setup is None or self.trace is None:
            raise ChainruleError("there is no run on which other networks could be tried")
        with randomness_kept():
            self.advice = advise(self.setup, budget)
        return self.advice

    def measure(self) -> Measurements:
        """The deep measurements, of the run that was diagnosed: top Hessian eigenvalue and critical
        rate, gradient noise scale, the gradient's growth from layer to layer in its parts, singular
        values of Jacobians, ranks, dead and dormant units, probes of layers, the tangent kernel,
        label noise, duplicates. It takes seconds; reports show them from then on.

        Raises:
            ChainruleError: there is no run to measure.
        """
        from chainrule.lens.diagnose.deep import measurements
        from chainrule.lens.diagnose.frameworks.randomness import randomness_kept

        if self.case is None or self.case.first.error is not None:
            raise ChainruleError("there is no run that could be measured")
        self.case.deadline = float("inf")
        with randomness_kept():
            self.measurements = measurements(self.case)
        return self.measurements

    def diff(self) -> str:
        """What `fixed` changes, as a unified diff; "" where it changes nothing."""
        from chainrule.lens.diagnose.described import diff

        finding = self._mendable
        if finding is None or finding.setup is None:
            return ""
        if self.together is None:
            return finding.diff
        return diff(finding.setup, self.together.change)

    @property
    def _mendable(self) -> Finding | None:
        return next((f for f in self.findings if f.remedy is not None), None)

    def verdict(self) -> str:
        """The outcome in one line."""
        if not self.findings:
            return "Nothing found."
        counts = {s: sum(f.severity == s for f in self.findings) for s in ("error", "warning")}
        advice = len(self.findings) - sum(counts.values())
        said = [f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items() if n]
        said += [f"{advice} piece{'s' * (advice != 1)} of advice"] * bool(advice)
        if self.healthy:
            return f"Nothing found that is wrong; {said[0]}."
        first = next(f for f in self.findings if f.severity != "advice")
        return f"{', '.join(said)}. First: {first.rule} at {shown(first.where)}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: what is in `Attributes`, by the same names, and `healthy`.

        Numbers that are not finite are the strings "NaN", "Infinity" and "-Infinity".
        """
        from chainrule.lens.diagnose.written.data import plain

        found: dict[str, Any] = plain(
            {
                "format": 1,
                "healthy": self.healthy,
                "about": self.about,
                "findings": [finding.to_dict() for finding in self.findings],
                "looked_at": self.looked_at,
                "not_looked_at": self.not_looked_at,
                "seconds": self.seconds,
                "budget": self.budget,
                "together": None if self.together is None else self.together.to_dict(),
                "advice": None if self.advice is None else self.advice.to_dict(),
                "slopes": self.slopes,
                "measurements": None if self.measurements is None else self.measurements.to_dict(),
                "trace": None if self.trace is None else self.trace.to_dict(),
            }
        )
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis that `to_dict` made data of. Its remedies say what they are, and cannot be
        applied any more.

        Raises:
            DataError: it is no such data.
        """
        from chainrule.lens.diagnose.written.data import (
            advice_of,
            finding_of,
            measurements_of,
            revived,
            together_of,
        )

        try:
            return cls(
                [finding_of(each) for each in data["findings"]],
                [(rule, what) for rule, what in data["looked_at"]],
                [(rule, why) for rule, why in data["not_looked_at"]],
                None if data["trace"] is None else revived(Trace, data["trace"]),
                dict(data["seconds"]),
                data["budget"],
                dict(data["about"]),
                together_of(data.get("together")),
                advice=advice_of(data.get("advice")),
                slopes=[revived(Slope, each) for each in data.get("slopes", ())],
                measurements=measurements_of(data.get("measurements")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"this is not what Diagnosis.to_dict gives ({type(error).__name__}: {error})"
            ) from None

    def save(self, path: str | Path, kind: str | None = None) -> Path:
        """Write one self-contained page (.html), data (.json) or text (.txt).

        Args:
            path: the file.
            kind: ".html", ".json" or ".txt", where the file's ending is not to say it.

        Raises:
            DataError: another ending, or the file cannot be written.
        """
        from chainrule.lens.diagnose.written.page import page
        from chainrule.lens.diagnose.written.terminal import text

        path = Path(path)
        kinds = {
            ".html": page,
            ".json": lambda d: json.dumps(d.to_dict(), indent=1, ensure_ascii=False),
            ".txt": text,
        }
        kind = path.suffix if kind is None else kind
        if kind not in kinds:
            raise DataError(
                f"a diagnosis is saved as {', '.join(kinds)}, by the file's ending, and this is "
                f"{path.name!r}"
            )
        try:
            path.write_text(kinds[kind](self), encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from None
        return path

    def __str__(self) -> str:
        from chainrule.lens.diagnose.written.terminal import text

        return text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from chainrule.lens.diagnose.written.terminal import rich

        return rich(self)

    def _repr_html_(self) -> str:
        from chainrule.lens.diagnose.written.page import fragment

        return fragment(self)
