"""The steps of Bayes' rule, from counts to the posterior.

P(A | +) = P(+ | A) P(A) / P(+), with P(+) = P(+ | A) P(A) + P(+ | not A) P(not A)
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from chainrule.lens.explain.derivation import Check, Element, Section, Step, Symbols
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.lens.explain.statement import Recomputed, SumsTo, stated
from chainrule.ops.notation import parse
from chainrule.probability.bounded import Beta
from chainrule.tensor.dtypes import float64
from chainrule.tensor.tensor import Tensor

CONFIDENCE = 0.95
OTHERS = (0.001, 0.01, 0.1, 0.5)
"""Base rates at which it is told what a positive answer would mean."""


class Rule:
    """Bayes' rule in exact fractions, beside which the formulas are evaluated in float64."""

    def __init__(
        self, matrix: np.ndarray, positive: int, base_rate: float | None, names: list[str]
    ) -> None:
        self.matrix, self.names, self.k = matrix, names, positive
        hits = int(matrix[positive, positive])
        misses = int(matrix[positive].sum()) - hits
        alarms = int(matrix[:, positive].sum()) - hits
        rejections = int(matrix.sum()) - hits - misses - alarms
        self.table = np.array([[hits, misses], [alarms, rejections]])
        self.given = base_rate is not None
        ill = hits + misses
        self.prior = (
            Fraction(ill, int(matrix.sum()))
            if base_rate is None
            else Fraction(repr(float(base_rate)))
        )
        self.sensitivity = Fraction(hits, ill)
        self.specificity = Fraction(rejections, alarms + rejections)
        self.evidence = self.says_yes(self.prior)

    def says_yes(self, prior: Fraction) -> Fraction:
        """P(+): the total probability of a positive answer."""
        return self.sensitivity * prior + (1 - self.specificity) * (1 - prior)

    def after_yes(self, prior: Fraction) -> Fraction | None:
        """P(A | +); None where no answer is positive."""
        evidence = self.says_yes(prior)
        return self.sensitivity * prior / evidence if evidence else None

    # Sections

    def counting(self) -> Section:
        """The matrix, and what of it is asked about."""
        others = [k for k in range(len(self.matrix)) if k != self.k]
        sides = ([self.k], others)
        formula = parse("y[u, v] = Σ_i Σ_j m[i, j]")
        elements = []
        for at in ((0, 0), (0, 1), (1, 0), (1, 1)):
            block = self.matrix[np.ix_(sides[at[0]], sides[at[1]])]
            sources = {"m": ("", block)}
            elements.append(Element(at, formula.instantiate({"m": block}, at), sources))
        name = self.names[self.k]
        step = Step(
            "N",
            f"N: {name} (A) against the rest; rows: A, not A; columns: said +, said −",
            operands=("M",),
            rule="one against the rest",
            formula=Symbols(formula),
            elements=tuple(elements),
            value=self.table,
            claims=(_SameTotal(self.matrix),),
        )
        text = "{} examples of A, of which {} were found; {} others, of which {} were taken for A"
        ill, well = (int(row.sum()) for row in self.table)
        hits, alarms = int(self.table[0, 0]), int(self.table[1, 0])
        again = lambda y: (y[0].sum(), y[0, 0], y[1].sum(), y[1, 0])  # noqa: E731
        step = remarked(step, Remark(text, (ill, hits, well, alarms), again))
        return Section("The counts", (step,))

    def prior_and_likelihoods(self) -> Section:
        """P(A), P(+ | A), P(− | not A), each with an interval where it was counted."""
        table = {"N": self.table.astype(np.float64)}
        steps: list[Step] = []
        if self.given:
            value = np.asarray(float(self.prior))
            steps.append(
                Step("P(A)", "P(A), the prior: the base rate that was given", rule="given",
                     value=value, claims=(Recomputed("what was given", value.copy(), 0.0),))
            )  # fmt: skip
        else:
            steps += self._share(
                "P(A)", "P(A), the prior: how frequent A is in the test",
                "(N[0, 0] + N[0, 1]) / (Σ_i Σ_j N[i, j])", table, self.prior, self.table[0].sum(),
                self.table.sum(),
            )  # fmt: skip
        steps += self._share(
            "P(+ | A)", "P(+ | A), the sensitivity: how often A is recognised",
            "N[0, 0] / (N[0, 0] + N[0, 1])", table, self.sensitivity, self.table[0, 0],
            self.table[0].sum(),
        )  # fmt: skip
        steps += self._share(
            "P(− | not A)", "P(− | not A), the specificity: how often the others are left alone",
            "N[1, 1] / (N[1, 0] + N[1, 1])", table, self.specificity, self.table[1, 1],
            self.table[1].sum(),
        )  # fmt: skip
        return Section("Prior and likelihoods", tuple(steps))

    def _share(
        self, name: str, title: str, formula: str, operands: dict[str, Any], value: Fraction,
        successes: Any, n: Any,
    ) -> list[Step]:  # fmt: skip
        share = stated(name, title, formula, operands, value=np.asarray(float(value)), rule="share")
        return [share, _interval(name, int(successes), int(n))]

    @property
    def numbers(self) -> dict[str, float]:
        return {
            "s": float(self.sensitivity), "c": float(self.specificity), "a": float(self.prior),
            "t": float(self.evidence),
        }  # fmt: skip

    _names: ClassVar = {"s": "P(+ | A)", "c": "P(− | not A)", "a": "P(A)", "t": "P(+)"}

    def _stated(self, name: str, title: str, formula: str, value: Fraction, rule: str) -> Step:
        used = parse(formula).names
        operands = {key: v for key, v in self.numbers.items() if key in used}
        return stated(
            name, title, formula, operands, value=np.asarray(float(value)), names=self._names,
            rule=rule, digits=6,
        )  # fmt: skip

    def posterior(self) -> Section:
        """P(+), P(A | +), P(A | −), and the same in odds."""
        s, c, a, e = self.sensitivity, self.specificity, self.prior, self.evidence
        steps = [
            self._stated(
                "P(+)", "P(+), the evidence: how often the answer is positive at this base rate",
                "s · a + (1 − c) · (1 − a)", e, "total probability",
            )
        ]  # fmt: skip
        if e:
            steps.append(
                self._stated("P(A | +)", "P(A | +), the posterior: how often a positive answer is "
                             "right", "s · a / t", s * a / e, "Bayes' rule")
            )  # fmt: skip
            steps[-1] = remarked(steps[-1], self._of_hundred(s * a / e))
        if e != 1:
            steps.append(
                self._stated("P(A | −)", "P(A | −): how often A is there although the answer is "
                             "negative", "(1 − s) · a / (1 − t)", (1 - s) * a / (1 - e),
                             "Bayes' rule")
            )  # fmt: skip
        parts: list[Section | Step] = list(steps)
        if c != 1:
            parts.append(Section("The same in odds", tuple(self._odds())))
        return Section("Evidence and posterior", tuple(parts))

    def _of_hundred(self, posterior: Fraction) -> Remark:
        text = "of 100 positive answers {} are right and {} are false alarms"
        right = float(100 * posterior)
        again = lambda y: (100 * float(y), 100 * (1 - float(y)))  # noqa: E731
        return Remark(text, (right, 100 - right), again)

    def _odds(self) -> list[Step]:
        """Odds form: the prior's odds times the likelihood ratio."""
        s, c, a = self.sensitivity, self.specificity, self.prior
        prior, ratio = a / (1 - a), s / (1 - c)
        after = prior * ratio
        steps = [
            self._stated("odds(A)", "the odds of A before: P(A) : P(not A)", "a / (1 − a)", prior,
                         "odds"),
            self._stated("LR+", "the likelihood ratio: how many times more frequent a positive "
                         "answer is with A than without", "s / (1 − c)", ratio, "likelihood ratio"),
            stated("odds(A | +)", "the odds of A after a positive answer", "o · r",
                   {"o": float(prior), "r": float(ratio)}, value=np.asarray(float(after)),
                   names={"o": "odds(A)", "r": "LR+"}, rule="Bayes' rule in odds", digits=6),
        ]  # fmt: skip
        if after:
            back = after / (1 + after)
            steps.append(
                stated("P(A | +) again", "the odds as a probability: the posterior from above",
                       "o / (1 + o)", {"o": float(after)}, value=np.asarray(float(back)),
                       names={"o": "odds(A | +)"}, rule="odds", digits=6,
                       claims=(Recomputed("P(A | +)", np.asarray(float(s * a / self.evidence)),
                                          1e-12),))
            )  # fmt: skip
        return steps

    def elsewhere(self) -> Section:
        """The posterior at other base rates, and how sure the rates make it."""
        tested = Fraction(int(self.table[0].sum()), int(self.table.sum()))
        rates = [*(Fraction(str(rate)) for rate in OTHERS), tested]
        rates = sorted({*rates, self.prior})
        found = [(rate, self.after_yes(rate)) for rate in rates]
        known = [(rate, value) for rate, value in found if value is not None]
        if not known:
            return Section("At other base rates", (), summary="no answer was ever positive")
        at = np.array([float(rate) for rate, _ in known])
        values = np.array([float(value) for _, value in known])
        curve = stated(
            "P(A | +) by base rate", "what a positive answer means at other base rates",
            "y[i] = s · a[i] / (s · a[i] + (1 − c) · (1 − a[i]))",
            {"s": float(self.sensitivity), "c": float(self.specificity), "a": at}, (len(at),),
            value=values, names={"s": "P(+ | A)", "c": "P(− | not A)", "a": "base rate"},
            at=[(i,) for i in range(len(at))], rule="Bayes' rule",
        )  # fmt: skip
        return Section("At other base rates", (curve, self._range()))

    def _range(self) -> Step:
        """Between which values the posterior lies, if both rates lie in their intervals."""
        ends = [_ends(int(self.table[0, 0]), int(self.table[0].sum())),
                _ends(int(self.table[1, 1]), int(self.table[1].sum()))]  # fmt: skip
        s, c = (np.array(pair) for pair in ends)
        a = float(self.prior)
        value = np.array([s[i] * a / (s[i] * a + (1 - c[i]) * (1 - a)) for i in range(2)])
        step = stated(
            "P(A | +) between", "the posterior where both rates are at the lower, and at the upper "
            "end of their intervals", "y[i] = s[i] · a / (s[i] · a + (1 − c[i]) · (1 − a))",
            {"s": s, "c": c, "a": a}, (2,), value=value,
            names={"s": "P(+ | A) between", "c": "P(− | not A) between", "a": "P(A)"},
            at=[(0,), (1,)], rule="it grows with both rates",
        )  # fmt: skip
        text = "both rates lie in their intervals at once with a probability of {} at least, as "
        text += "each does with {} (Bonferroni)"
        both = 1 - 2 * (1 - CONFIDENCE)
        again = lambda y: (2 * CONFIDENCE - 1, CONFIDENCE)  # noqa: E731
        return remarked(step, Remark(text, (both, CONFIDENCE), again))

    def every_class(self) -> Section:
        """P(true | said) for every pair of classes."""
        exact = [[Fraction(int(v), int(row.sum())) for v in row] for row in self.matrix]
        tested = [Fraction(int(row.sum()), int(self.matrix.sum())) for row in self.matrix]
        rest = 1 - tested[self.k]
        priors = [
            self.prior if i == self.k else share * (1 - self.prior) / rest
            for i, share in enumerate(tested)
        ]
        size = len(priors)
        said = [sum(exact[i][j] * priors[i] for i in range(size)) for j in range(size)]
        values = np.array(
            [
                [float(exact[i][j] * priors[i] / said[j]) if said[j] else np.nan
                 for j in range(size)]
                for i in range(size)
            ]
        )  # fmt: skip
        likelihood = np.array([[float(v) for v in row] for row in exact])
        prior = np.array([float(v) for v in priors])
        sums = np.where([bool(v) for v in said], 1.0, np.nan)
        first = stated(
            "P(said | true)", "P(said j | true i): the matrix, each row divided by its sum",
            "y[i, j] = M[i, j] / (Σ_h M[i, h])", {"M": self.matrix.astype(np.float64)},
            (size, size), value=likelihood, rule="likelihood of every answer",
            at=[(i, i) for i in range(min(size, 5))],
            claims=(SumsTo(np.ones(size), -1, 1e-12),),
        )  # fmt: skip
        second = self._priors(prior)
        with np.errstate(all="ignore"):
            third = stated(
                "P(true | said)", "P(true i | said j): what each answer means; columns add up to 1",
                "y[i, j] = L[i, j] · a[i] / (Σ_h L[h, j] · a[h])", {"L": likelihood, "a": prior},
                (size, size), value=values, names={"L": "P(said | true)", "a": "P(true)"},
                at=[(i, i) for i in range(min(size, 5)) if said[i]] or None,
                rule="Bayes' rule", claims=(SumsTo(sums, 0, 1e-12),),
                notes=self._never_said(said),
            )  # fmt: skip
        means = [j for j in range(size) if said[j]][:5]
        remark = Remark(
            "; ".join(f"the answer {quoted(self.names[j])} is right with probability {{}}"
                      for j in means),
            tuple(float(values[j, j]) for j in means),
            lambda y: tuple(float(y[j, j] / np.nansum(y[:, j])) for j in means),
        )  # fmt: skip
        return Section("Every class", (first, second, remarked(third, remark)))

    def _priors(self, prior: np.ndarray) -> Step:
        """P(true): as in the test; or what was given, and the others in the test's proportions."""
        title, formula = "P(true i): the base rates of all classes", "y[i] = n[i] / (Σ_h n[h])"
        operands: dict[str, Any] = {"n": self.matrix.sum(axis=1).astype(np.float64)}
        if self.given:
            title += f"; those beside {self.names[self.k]} in the proportions of the test"
            formula = "y[i] = a if i = k else n[i] · (1 − a) / (Σ_{h ≠ k} n[h])"
            operands |= {"a": float(self.prior), "k": self.k}
        return stated(
            "P(true)", title, formula, operands, prior.shape, value=prior,
            names={"n": "row sums of M", "a": "P(A)"}, at=[(i,) for i in range(min(prior.size, 5))],
            rule="prior", claims=(SumsTo(1.0, None, 1e-12),),
        )  # fmt: skip

    def _never_said(self, said: list[Any]) -> tuple[str, ...]:
        never = [self.names[j] for j, total in enumerate(said) if not total]
        return (f"never said, so that it means nothing: {', '.join(never)}",) if never else ()

    def summary(self) -> tuple[str, ...]:
        """The answer in a sentence."""
        after = self.after_yes(self.prior)
        if after is None:
            return (f"{self.names[self.k]} was never the answer, so that nothing follows from it.",)
        return (
            f"At a base rate of {float(self.prior):.4g} the answer {self.names[self.k]} is right "
            f"with probability {float(after):.4g}.",
        )


def _ends(successes: int, n: int) -> tuple[float, float]:
    """The ends of Jeffreys' interval."""
    tail = (1 - CONFIDENCE) / 2
    made = Beta(Tensor(np.asarray(successes + 0.5)), Tensor(np.asarray(n - successes + 0.5)))
    low, high = (float(made.quantile(Tensor(np.asarray(q))).item()) for q in (tail, 1 - tail))
    return low if successes else 0.0, high if successes < n else 1.0


def _interval(name: str, successes: int, n: int) -> Step:
    """Jeffreys' interval of a share: the middle of what is known of it after the counts.

    Brown, Cai, DasGupta 2001, Interval estimation for a binomial proportion, Statistical Science
    16: Beta(x + ½, n − x + ½), with the end 0 where x = 0 and 1 where x = n.
    """
    ends = np.array(_ends(successes, n))
    return Step(
        f"{name} between", f"{name} lies between these with a probability of {CONFIDENCE}",
        operands=(name,), rule="Jeffreys' interval", value=ends, claims=(_Tails(successes, n),),
        formula=Symbols(parse("y = quantiles of Beta(x + ½, n − x + ½)", display_only=True)),
    )  # fmt: skip


class _Tails:
    """That 2.5 % of Beta(x + ½, n − x + ½) lie beyond each end."""

    def __init__(self, successes: int, n: int) -> None:
        self.successes, self.n = successes, n

    def check(self, step: Step) -> Check:
        assert step.value is not None
        made = Beta(
            Tensor(np.asarray(self.successes + 0.5)),
            Tensor(np.asarray(self.n - self.successes + 0.5)),
        )
        below = made.cdf(Tensor(step.value.astype(float64))).numpy()
        tail = (1 - CONFIDENCE) / 2
        wanted = np.array([tail if self.successes else 0.0,
                           1 - tail if self.successes < self.n else 1.0])  # fmt: skip
        return Check(
            "the share of the distribution below", float(np.abs(below - wanted).max()), 1e-8
        )


class _SameTotal:
    """That no example was lost."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix

    def check(self, step: Step) -> Check:
        assert step.value is not None
        gap = abs(float(step.value.sum()) - float(self.matrix.sum()))
        return Check("the sum of all counts", gap, 0.0)
