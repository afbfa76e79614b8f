"""The questions of an interpretation, asked one after another of all rows at once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.interpret.calibration import (
    FEWEST,
    Calibration,
    RealCalibration,
    calibrated,
    real_calibration,
)
from chainrule.lens.interpret.case import Case, Rows
from chainrule.lens.interpret.doubt import drawn_in, posterior_of, width_of
from chainrule.lens.interpret.interpretation import Interpretation, Row
from chainrule.lens.interpret.judged import Judged, judged_classes, judged_reals
from chainrule.lens.interpret.places import familiarity
from chainrule.lens.interpret.sentence import of_row, of_rows
from chainrule.lens.interpret.worth import Held
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive, entropy
from chainrule.probability.conformal.classes import ConformalClassifier
from chainrule.probability.conformal.law import Guarantee
from chainrule.probability.conformal.reals import ConformalRegressor
from chainrule.probability.novelty.seen import Familiarity

MOST_ROWS = 1000
"""So many rows have a `Row` of their own; all are in the table."""
MOST_WEIGHTS = 500
"""Of larger networks posteriors are not compared: their reference takes a minute for 80 weights,
and hours for thousands."""
SAMPLES = 200
"""Draws of the weights, where a posterior is drawn from."""


class Answering:
    """What is found so far. Each method asks one question, and leaves what it found in attributes
    (rows,) or None where it cannot be answered; `warnings` says why."""

    def __init__(self, case: Case, coverage: float, seed: int) -> None:
        self.case, self.coverage, self.seed = case, coverage, seed
        self.warnings: list[str] = []
        self.facts: Calibration | RealCalibration | None = None
        self.held: Held | None = None
        self.calibrated: np.ndarray | None = None
        self.posterior: Posterior | None = None
        self.predictive: ClassPredictive | RealPredictive | None = None
        self.sets: list[tuple[str, ...]] | None = None
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None
        self.std: np.ndarray | None = None
        self.spread: np.ndarray | None = None
        self.law: Guarantee | None = None
        self.covered: np.ndarray | None = None
        self.judged: Judged | None = None
        self.comparison: Any = None
        self.importance: list[tuple[str, float]] = []
        self.details: dict[int, dict[str, Any]] = {}
        self.familiar: Familiarity | None = None
        if case.real:
            mean, std = case.view.scale
            self.values = case.asked.outputs[:, 0] * std + mean
        else:
            self.p = case.probabilities(case.asked)
            self.codes = self.p.argmax(1)
            self.confidence = self.p[np.arange(len(self.p)), self.codes]

    # Calibration

    def calibrate(self) -> None:
        """How often such answers are right; of real targets this waits for the spread."""
        case = self.case
        if case.held is None or case.held.y is None:
            self.warnings.append(
                "No held-out rows were given, so nobody knows what a probability of this network "
                "is worth: interpret(…, calibration=(X, y))."
            )
            return
        learnt = _among(case.held, case.trained)
        if learnt:
            some = "All" if learnt == len(case.held) else f"{learnt} of the {len(case.held)}"
            self.warnings.append(
                f"{some} held-out rows are training rows, too: the network learnt their answers, "
                "so that it looks better than it is, and sets and intervals are too narrow. Take "
                "rows that nothing was learnt from."
            )
        if case.real:
            return
        p, y = case.probabilities(case.held), case.held.y
        codes = p.argmax(1)
        self.held = Held(p[np.arange(len(p)), codes], codes == y)
        if len(y) < FEWEST:
            self._few(len(y))
            return
        found = calibrated(case.logits(case.held), y, case.classes, self.seed)
        self.facts = found.facts
        moved = found.transform(case.logits(case.asked))
        self.calibrated = moved[np.arange(len(moved)), self.codes]
        if found.facts.unseen:
            self.warnings.append(
                f"No held-out row is of class {', '.join(found.facts.unseen[:5])}: nothing is "
                "known of its probabilities."
            )

    def _few(self, n: int) -> None:
        self.warnings.append(
            f"There are {n} held-out rows, and {FEWEST} are needed to say anything about "
            "calibration."
        )

    # Doubt

    def doubt(self, asked: Any) -> None:
        """Whose the doubt is; of real targets also how far the answer may be off."""
        case, trained = self.case, self.case.trained
        if case.subject is None:
            if asked is not None:
                raise DataError("bare probabilities have no posterior: there are no weights")
        else:
            pair = None
            if trained is not None and trained.x is not None and trained.y is not None:
                pair = trained.x, trained.y
            self.posterior, why = posterior_of(case.subject, asked, pair, self.seed)
            if why and asked != "none":
                self.warnings.append(f"Whose the doubt is cannot be said: {why}.")
        if self.posterior is not None:
            self.predictive = self.posterior.predict(case.asked.x, samples=SAMPLES)
            self.warnings += self.posterior.warnings
        if case.real:
            self._spread()
        elif isinstance(self.predictive, ClassPredictive) and len(self.predictive.draws) > 1:
            self._narrow(self.predictive)

    def _narrow(self, found: ClassPredictive) -> None:
        """A posterior is fitted to held-out rows, so that it leaves no more open than they bear
        out."""
        case, held = self.case, self.case.held
        if held is None or held.y is None or len(held) < FEWEST:
            return
        assert self.posterior is not None
        apart = self.posterior.predict(held.x, samples=SAMPLES)
        assert isinstance(apart, ClassPredictive)
        width = width_of(apart.draws, case.probabilities(held), held.y)
        if width < 1:
            self.predictive = drawn_in(found.draws, self.p, width)
            self.warnings.append(
                f"The posterior ({self.posterior.method}) leaves more open than the held-out rows "
                f"bear out; {width:.2g} of its spread is taken."
            )

    def _spread(self) -> None:
        """The standard deviation of the answers, and what held-out rows say of it."""
        case, held = self.case, self.case.held
        scale = case.view.scale[1]
        if self.predictive is not None and isinstance(self.predictive, RealPredictive):
            self.std = self.predictive.std * scale
        if held is None or held.y is None:
            return
        n = len(held.y)
        if n < FEWEST:
            self._few(n)
            return
        mean = held.outputs[:, 0]
        if self.posterior is None:
            # Without a posterior the spread is that of the held-out errors: right on average.
            spread = np.full(n, float(np.sqrt(np.mean((held.y - mean) ** 2))))
            self.std = np.full(len(case.asked), spread[0] * scale)
            self.warnings.append(
                "Without a posterior the spread is that of the held-out errors themselves, the "
                "same for every row: that it is right on average says nothing."
            )
            if spread[0] == 0:
                self.warnings.append(
                    "The network is exactly right on every held-out row, so there is no spread to "
                    "compare with. Is the target among the columns?"
                )
                return
        else:
            found = self.posterior.predict(held.x, samples=SAMPLES)
            assert isinstance(found, RealPredictive)
            mean, spread = found.mean, found.std
            self.spread = spread
        shift, trained = case.view.scale[0], case.trained
        usual = held.y.mean() if trained is None or trained.y is None else trained.y.mean()
        self.facts = real_calibration(
            mean * scale + shift, spread * scale, held.y * scale + shift,
            float(usual) * scale + shift,
        )  # fmt: skip

    # Sets and intervals

    def regions(self) -> None:
        """What cannot be ruled out at the error rate 1 − coverage, whatever the network's worth."""
        case, held = self.case, self.case.held
        if held is None or held.y is None:
            return
        if case.real:
            scale, shift = case.view.scale[1], case.view.scale[0]
            # With a standard deviation of its own each row has a width of its own.
            asked: Any = case.asked.outputs[:, 0]
            apart: Any = held.outputs[:, 0]
            reals = ConformalRegressor("residual" if self.spread is None else "normalised")
            if self.spread is not None and self.std is not None:
                asked, apart = (asked, self.std / scale), (apart, self.spread)
            found = reals.fit(apart, held.y).predict_interval(asked, self.coverage)
            self.low, self.high = found.low * scale + shift, found.high * scale + shift
            law, warned = found.guarantee, found.warnings
            if case.asked.y is not None:
                self.covered = found.covered(case.asked.y)
        else:
            sets = ConformalClassifier().fit(case.probabilities(held), held.y)
            chosen = sets.predict_set(self.p, self.coverage)
            self.sets = [tuple(row) for row in chosen.labels(case.classes)]
            law, warned = chosen.guarantee, chosen.warnings
            if case.asked.y is not None:
                self.covered = chosen.covered(case.asked.y)
        assert isinstance(law, Guarantee)
        self.law = law
        self.warnings += warned

    def judge(self) -> None:
        """How right the answers to the rows asked about are, where their targets are known; and
        whether rows that were learnt from are among them."""
        case, y = self.case, self.case.asked.y
        learnt, measured = _among(case.asked, case.trained), _among(case.asked, case.held)
        if learnt:
            some = _some(learnt, len(case.asked))
            self.warnings.append(
                f"{some} among the training rows: the network learnt their answers, and is surer "
                "of them than of others."
            )
        if measured:
            some = _some(measured, len(case.asked))
            self.warnings.append(f"{some} among the held-out ones, which the figures rest on.")
        if y is None or (self.facts is not None and measured == len(case.asked)):
            return  # of the held-out rows all is said already
        law = self.law if not measured and not learnt else None
        if case.real:
            error = (case.asked.outputs[:, 0] - y) * case.view.scale[1]
            self.judged = judged_reals(error, self.covered, law, None)
            return
        own = None
        if len(y) >= FEWEST and not measured:
            own = calibrated(case.logits(case.asked), y, case.classes, self.seed).facts
        self.judged = judged_classes(self.codes == y, self.covered, law, own)

    # The rest

    def places(self) -> None:
        """Which rows lie outside of what the network saw, and in which columns."""
        self.familiar = familiarity(self.case)
        if self.familiar is not None:
            self.warnings += [
                f"Whether a row lies outside of what the network saw is not told: {note}"
                for note in self.familiar.notes
            ]

    def look_into(self, method: str, detail: int) -> None:
        """What made the most doubtful answers so."""
        from chainrule.lens.interpret.detail import looked_into

        if self.case.subject is None or detail < 1:
            return
        rows = np.argsort(-self.doubtful, kind="stable")[:detail]
        try:
            self.details, self.importance = looked_into(
                self.case, [int(i) for i in rows], method, self.seed
            )
        except ChainruleError as error:
            self.warnings.append(f"What made the answers so cannot be said: {error}")

    @property
    def doubtful(self) -> np.ndarray:
        """(rows,): the larger the more doubtful."""
        if not self.case.real:
            return 1 - self.confidence
        if isinstance(self.predictive, RealPredictive):
            return self.predictive.std
        return np.abs(self.values - self.values.mean())

    def compare(self) -> None:
        """The same network's posterior by several methods, side by side."""
        from chainrule.posteriors.compare import compare

        trained = self.case.trained
        if self.case.subject is None or trained is None:
            raise DataError(
                "to compare methods the network and its training rows are needed: interpret(model, "
                "x, training=(X, y), compare=True)"
            )
        weights = sum(p.size for p in getattr(self.case.subject.model, "parameters", list)())
        if weights > MOST_WEIGHTS:
            raise DataError(
                f"the network has {weights:,} weights, and Hamiltonian Monte Carlo, with which all "
                f"are compared, is for {MOST_WEIGHTS:,} at most: it would take hours. Compare on a "
                "smaller network of the same data (chainrule fit --hidden 8)"
            )
        # The same prior and the same noise for all, or they would not be of the same posterior.
        shared: dict[str, Any] = {"precision": 1.0}
        if self.case.real:
            assert trained.y is not None
            shared["noise"] = float(np.sqrt(np.mean((trained.outputs[:, 0] - trained.y) ** 2)))
        self.comparison = compare(
            self.case.subject.model, (trained.x, trained.y), self.case.asked.x, **shared
        )

    # Written

    def written(self) -> Interpretation:
        """All of it, with its sentences."""
        case = self.case
        count = min(len(case.asked), MOST_ROWS)
        order = np.argsort(-self.doubtful[:count], kind="stable")
        rows = [self._row(i) for i in range(count)]
        facts = "" if self.facts is None else self.facts.sentence
        many = of_rows(rows, self.coverage) if count > 1 else ""
        one = "" if facts and count > 1 else rows[int(order[0])].sentence
        judged = "" if self.judged is None else self.judged.sentence
        lead = " ".join(filter(None, (one, facts, many, judged)))
        return Interpretation(
            sentence=lead, rows=rows, calibration=self.facts, judged=self.judged,
            table=self._table(), coverage=self.coverage,
            guarantee="" if self.law is None else str(self.law), importance=self.importance,
            comparison=self.comparison, warnings=list(dict.fromkeys(self.warnings)),
            about=self._about(), subject=case.subject,
        )  # fmt: skip

    def _about(self) -> dict[str, Any]:
        case = self.case

        def rows(part: Rows | None) -> int:
            return 0 if part is None else len(part)

        found: dict[str, Any] = {
            "task": "real" if case.real else "classes", "classes": list(case.classes),
            "rows": rows(case.asked), "held_out": rows(case.held), "training": rows(case.trained),
            "posterior": "" if self.posterior is None else self.posterior.method,
        }  # fmt: skip
        if case.subject is not None:
            found["framework"] = case.subject.framework
            found["model"] = repr(case.subject.model)
        return found

    def _table(self) -> dict[str, list[Any]]:
        case, n = self.case, len(self.case.asked)
        table: dict[str, list[Any]] = {"row": list(range(n))}
        if case.real:
            table["answer"] = self.values.tolist()
            if case.asked.y is not None:
                table["truth"] = (case.asked.y * case.view.scale[1] + case.view.scale[0]).tolist()
            if self.std is not None:
                table["std"] = self.std.tolist()
            if self.low is not None and self.high is not None:
                table["low"], table["high"] = self.low.tolist(), self.high.tolist()
        else:
            table["answer"] = [case.classes[k] for k in self.codes]
            if case.asked.y is not None:
                table["truth"] = [case.classes[k] for k in case.asked.y]
            table["probability"] = self.confidence.tolist()
            if self.calibrated is not None:
                table["calibrated"] = self.calibrated.tolist()
            table["entropy"] = self._entropy.tolist()
            if self.sets is not None:
                table["set"] = [" ".join(row) for row in self.sets]
        if self.predictive is not None:
            aleatoric, epistemic = self._parts
            table["aleatoric"], table["epistemic"] = aleatoric.tolist(), epistemic.tolist()
        if self.familiar is not None:
            table["unusual"] = self.familiar.p_value.tolist()
            table["outside"] = [" ".join(o.column for o in row) for row in self.familiar.outside]
        return table

    @cached_property
    def _entropy(self) -> np.ndarray:
        if isinstance(self.predictive, ClassPredictive):
            return self.predictive.entropy
        return entropy(self.p)

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """(aleatoric, epistemic): nats, or variances in the target's unit."""
        assert self.predictive is not None
        unit = self.case.view.scale[1] ** 2 if self.case.real else 1.0
        return self.predictive.aleatoric * unit, self.predictive.epistemic * unit

    def _truth(self, i: int) -> str:
        y, view = self.case.asked.y, self.case.view
        assert y is not None
        if self.case.real:
            return f"{y[i] * view.scale[1] + view.scale[0]:.6g}"
        return self.case.classes[y[i]]

    def _row(self, i: int) -> Row:
        case = self.case
        facts: dict[str, Any] = {"row": i, **self.details.get(i, {})}
        if case.asked.y is not None:
            facts["truth"] = self._truth(i)
        if case.real:
            facts["answer"] = f"{self.values[i]:.6g}"
            facts["std"] = None if self.std is None else float(self.std[i])
            if self.low is not None and self.high is not None:
                facts["low"], facts["high"] = float(self.low[i]), float(self.high[i])
        else:
            given = float(self.confidence[i])
            facts["answer"] = case.classes[self.codes[i]]
            facts["probability"] = given
            facts["entropy"] = float(self._entropy[i])
            facts["most"] = float(np.log(len(case.classes)))
            if self.calibrated is not None:
                facts["calibrated"] = float(self.calibrated[i])
            if self.held is not None:
                facts["worth"] = self.held.worth(given)
            if self.sets is not None:
                facts["answers"] = self.sets[i]
        if self.familiar is not None:
            facts["outside"] = self.familiar.outside[i]
            facts["unusual"] = float(self.familiar.p_value[i])
            facts["strange"] = bool(self.familiar.flagged[i])
        if self.posterior is not None and self.posterior.method != "point":
            aleatoric, epistemic = self._parts
            facts["aleatoric"], facts["epistemic"] = float(aleatoric[i]), float(epistemic[i])
        row = Row(**facts)
        return Row(**{**vars(row), "sentence": of_row(row, self.coverage, len(case.classes))})


def _some(n: int, of: int) -> str:
    """So many rows of those asked about, before a verb's complement."""
    if n == of:
        return "This row is" if n == 1 else "These rows are"
    return f"{n} of these rows {'is' if n == 1 else 'are'}"


def _among(asked: Rows, others: Rows | None) -> int:
    """How many rows are, to the bit, among the others; of bare probabilities none can be known."""
    if others is None or asked.x is None or others.x is None:
        return 0
    narrow = min((asked.x.dtype, others.x.dtype), key=lambda dtype: dtype.itemsize)
    known = {row.tobytes() for row in others.x.astype(narrow)}
    return sum(row.tobytes() in known for row in asked.x.astype(narrow))
