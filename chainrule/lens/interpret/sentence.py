"""What is found, in sentences: the main thing first, and nothing that the rows do not bear out."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import median

from chainrule.lens.interpret.interpretation import Row

SHARES = (
    (0.03, "almost none"), (0.075, "a twentieth"), (0.14, "a tenth"), (0.22, "a fifth"),
    (0.29, "a quarter"), (0.36, "a third"), (0.45, "two fifths"), (0.55, "half"),
    (0.63, "three fifths"), (0.71, "two thirds"), (0.78, "three quarters"), (0.86, "four fifths"),
    (0.97, "nine tenths"),
)  # fmt: skip


def share_in_words(share: float) -> str:
    """A share of the doubt, as people say it.

    >>> share_in_words(0.1), share_in_words(0.5), share_in_words(0.99)
    ('a tenth', 'half', 'almost all')
    """
    return next((words for most, words in SHARES if share < most), "almost all")


def number(value: float) -> str:
    """Three significant figures, without an exponent where that is readable.

    >>> number(0.12345), number(1234.5), number(2.0)
    ('0.123', '1234', '2')
    """
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def probability(value: float) -> str:
    """Three decimals, and never a certainty that rounding has made.

    >>> probability(0.853), probability(0.9987), probability(0.00003)
    ('0.853', '0.999', 'less than 0.001')
    """
    if value < 0.0005:
        return "less than 0.001"
    return "more than 0.999" if value > 0.9995 else f"{value:.3f}"


def share(value: float) -> str:
    """Two decimals; three where two would make a certainty of it.

    >>> share(0.853), share(0.9987), share(1.0), share(0.99996)
    ('0.85', '0.999', '1.00', 'more than 0.999')
    """
    if value in (0.0, 1.0) or 0.005 <= value < 0.995:
        return f"{value:.2f}"
    return probability(value)


def span(low: float, high: float) -> str:
    """An interval of a share.

    >>> span(0.727, 0.842), span(0.9789, 0.9985), span(0.98, 1.0)
    ('0.73–0.84', '0.979–0.999', '0.98–1.00')
    """
    certain = 0 < low < 0.005 or 0.995 < high < 1
    places = 3 if certain else 2
    return f"{low:.{places}f}–{high:.{places}f}"


def either(answers: tuple[str, ...]) -> str:
    """
    >>> either(("3", "5", "8"))
    '3, 5 or 8'
    """
    if len(answers) < 2:
        return "".join(answers)
    return f"{', '.join(answers[:-1])} or {answers[-1]}"


def of_row(row: Row, coverage: float, classes: int) -> str:
    """One row's answer and what it is worth."""
    parts = [*_worth(row), *_doubt(row), *_set(row, coverage, classes), *_place(row), *_truth(row)]
    return " ".join(parts)


def of_rows(rows: Sequence[Row], coverage: float) -> str:
    """What is left open in many rows, and how many of them are like none that were seen; "" where
    nothing is known."""
    sizes = [len(row.answers) for row in rows if row.answers is not None]
    wide = [row.high - row.low for row in rows if row.high is not None and row.low is not None]
    parts = []
    if sizes:
        one, many, none = (sum(map(of, sizes)) for of in (_one, _many, _none))
        parts.append(
            f"At {_error(coverage)} one answer is left in {one} of {len(rows)} rows"
            + (f", several in {many}" if many else "")
            + (f", none in {none}" if none else "")
            + "."
        )
    if wide and isfinite(median(wide)):
        parts.append(
            f"At {_error(coverage)} what is true lies within ± {number(median(wide) / 2)}"
            + (" in the median row." if max(wide) - min(wide) > 1e-6 * max(wide) else ".")
        )
    if strange := sum(row.strange for row in rows):
        parts.append(
            f"{strange} of {len(rows)} rows {'lies' if strange == 1 else 'lie'} outside of what "
            "the network saw."
        )
    return " ".join(parts)


def _one(size: int) -> bool:
    return size == 1


def _many(size: int) -> bool:
    return size > 1


def _none(size: int) -> bool:
    return size == 0


def _error(coverage: float) -> str:
    return f"{100 * (1 - coverage):.3g} % error"


def _worth(row: Row) -> list[str]:
    if row.probability is None:
        spread = "" if row.std is None else f" ± {number(row.std)} (one standard deviation)"
        return [f"The answer is {number(float(row.answer))}{spread}."]
    said = f"The network says {row.answer}, and gives it {probability(row.probability)}."
    if row.worth is None:
        return [f"{said} Without held-out rows nobody knows how often such answers are right."]
    worth, given = row.worth, share(row.worth.given)
    text = ""
    if row.calibrated is not None and abs(row.calibrated - row.probability) >= 0.005:
        text = f"; calibrated, this is {share(row.calibrated)}"
    if worth.right is None or worth.low is None or worth.high is None:
        few = f"Only {worth.rows} held-out rows were" if worth.rows else "No held-out row was"
        return [f"{said} {few} given about {given}: too few to say what it is worth{text}."]
    means = {
        "over-confident": "the network is over-confident here",
        "under-confident": "the network is less sure here than it could be",
        "as it says": "as far as these rows can tell, it means what it says",
        "too few rows": "",
    }[worth.verdict]
    return [
        f"{said} Of {worth.rows} held-out rows given about {given}, {share(worth.right)} were "
        f"right ({span(worth.low, worth.high)}): {means}{text}."
    ]


def _doubt(row: Row) -> list[str]:
    parts = []
    if row.entropy is not None and row.most is not None:
        parts.append(f"Entropy {row.entropy:.2f} of at most {row.most:.2f} nats.")
    if row.epistemic is not None and row.aleatoric is not None:
        whole = row.epistemic + row.aleatoric
        # Of an entropy that is written as 0.00 no part is worth a word.
        if whole >= 0.005 or row.entropy is None:
            words = share_in_words(row.epistemic / whole if whole else 0.0)
            what = "doubt" if row.entropy is not None else "variance"
            parts.append(f"{words[0].upper()}{words[1:]} of the {what} would go with more data.")
    return parts


def _set(row: Row, coverage: float, classes: int) -> list[str]:
    error = f"At {_error(coverage)}"
    if row.low is not None and row.high is not None:
        if not (isfinite(row.low) and isfinite(row.high)):
            return [f"{error} no number can be ruled out: there are too few held-out rows."]
        if row.high < row.low:
            return [f"{error} no number is left."]
        return [f"{error} it lies between {number(row.low)} and {number(row.high)}."]
    if row.answers is None:
        return []
    if not row.answers:
        return [
            f"{error} no answer is left: {100 * coverage:.3g} % of held-out rows were given more "
            "than this for what they are."
        ]
    if len(row.answers) == classes:
        return [f"{error} no class can be ruled out."]
    if len(row.answers) == 1:
        return [f"{error} the answer is {row.answers[0]} alone."]
    if len(row.answers) > 5:
        return [f"{error} {classes - len(row.answers)} of {classes} classes can be ruled out."]
    return [f"{error} the answer is {either(row.answers)}."]


def _place(row: Row) -> list[str]:
    if not row.strange:
        return []
    if not row.outside:
        return [
            "The row is unlike the training rows as a whole, though no single column is: trust it "
            "less."
        ]
    cells = "; ".join(map(str, row.outside[:3]))
    more = f"; and {len(row.outside) - 3} more" if len(row.outside) > 3 else ""
    return [f"The row lies outside of what the network saw, in {cells}{more}: trust it less."]


def _truth(row: Row) -> list[str]:
    return [] if row.truth is None else [f"The truth is {row.truth}."]
