"""An interpretation: what a network's answers are worth, as data first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.interpret.worth import Worth
from chainrule.probability.novelty.seen import Outside

if TYPE_CHECKING:
    from chainrule.lens.interpret.calibration import Calibration, RealCalibration
    from chainrule.lens.interpret.judged import Judged
    from chainrule.lens.interpret.subjects import Subject


@dataclass(frozen=True)
class Share:
    """What one column (or pixel, or token) adds to an answer.

    Attributes:
        column: its name.
        value: what the row has there, as it is written.
        amount: what it adds to the output, in the output's unit (log-odds, or the target's unit).
    """

    column: str
    value: str
    amount: float


@dataclass(frozen=True)
class Why:
    """What in the input made the answer so.

    Attributes:
        method: which attribution.
        of: what is split up, in words ("the log-odds of 3 against the rest").
        base: the output at the baseline; base + Σ amounts = output, within `error`.
        output: the output of this row.
        shares: the largest first.
        error: |output − base − Σ amounts|.
        complete: whether the method defines amounts so that this is 0.
        depends: rank correlation with the attribution after the weights were redrawn; near 1 means
            that it says little about this network (Adebayo et al. 2018); None where not asked.
        meaning, not_meaning: sentences.
        image: (pixels, amounts), two arrays (height, width), of a row that is an image.
    """

    method: str
    of: str
    base: float
    output: float
    shares: tuple[Share, ...]
    error: float
    depends: float | None
    meaning: str
    not_meaning: str
    image: tuple[np.ndarray, np.ndarray] | None = None
    complete: bool = True


@dataclass(frozen=True)
class Neighbour:
    """A training row that the network sees as much alike, in the last layer's features."""

    row: int
    similarity: float
    label: str


@dataclass(frozen=True)
class Flip:
    """The smallest change found that gives another answer.

    Attributes:
        becomes: the other answer.
        changes: (column, value before, value after).
        distance: in standard deviations of the columns.
    """

    becomes: str
    changes: tuple[tuple[str, str, str], ...]
    distance: float


@dataclass(frozen=True)
class Row:
    """One row's answer, and what it is worth.

    Attributes:
        row: its number.
        answer: the likeliest class, or the number.
        probability: what the network gives its answer; None of a real target.
        calibrated: the same, calibrated; None without enough held-out rows.
        worth: how often such answers were right; None without held-out rows.
        entropy, most: of the predictive distribution, and the most it can be, in nats; of classes.
        aleatoric, epistemic: the doubt that is the data's and that which more data would take
            away: nats for classes, variances for real targets; None without a posterior.
        std: of a real target.
        answers: the classes that cannot be ruled out at the error rate 1 − coverage.
        low, high: the ends of the interval that holds with that coverage, for real targets.
        outside: cells that lie outside of what the network saw.
        unusual: the p-value that a row like the training rows is as strange; None where these are
            not known.
        strange: whether it is so small that the row counts as one the network knows nothing of.
        why, flip: what made the answer so, and what would change it.
        neighbours: training rows that are most alike.
        truth: the true answer, where it was given.
        sentence: all this in words.
    """

    row: int
    answer: str
    probability: float | None = None
    calibrated: float | None = None
    worth: Worth | None = None
    entropy: float | None = None
    most: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    std: float | None = None
    answers: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    outside: tuple[Outside, ...] = ()
    unusual: float | None = None
    strange: bool = False
    why: Why | None = None
    flip: Flip | None = None
    neighbours: tuple[Neighbour, ...] = ()
    truth: str | None = None
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(repr=False)
class Interpretation:
    """What a network's answers are worth.

    It is shown as text, in colours by a terminal, as a page in a notebook; `save` writes a page
    (.html), data (.json) or text (.txt).

    Attributes:
        sentence: the main thing, first.
        rows: one `Row` for each row that was asked about.
        calibration: whether the network's probabilities mean what they say; None without held-out
            rows.
        judged: how right the answers to these rows are, where their targets were given.
        table: column → values of all rows: answer, probability, calibrated, entropy, …
        coverage: of the sets and intervals.
        guarantee: what coverage the held-out rows promise, in words.
        importance: (column, mean |amount| over the rows), the largest first.
        comparison: methods side by side, where it was asked for.
        warnings: what keeps an answer from being trusted, in sentences.
        about: facts for the head of the report: "model", "parameters", "task", "classes", "rows",
            "held_out", "training", "posterior", "seconds", "subject", "target", "note".
        subject: the network; None where it was read from a file.
    """

    sentence: str = ""
    rows: Sequence[Row] = ()
    calibration: Calibration | RealCalibration | None = None
    judged: Judged | None = None
    table: dict[str, list[Any]] = field(default_factory=dict)
    coverage: float = 0.9
    guarantee: str = ""
    importance: Sequence[tuple[str, float]] = ()
    comparison: Any = None
    warnings: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    subject: Subject | None = field(default=None, compare=False)

    def __getitem__(self, row: int) -> Row:
        return self.rows[row]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def order(self) -> list[int]:
        """The places of all rows in the table, the most doubtful first."""
        for name, sign in (("probability", 1), ("std", -1)):
            if name in self.table:
                values = sign * np.array(self.table[name])
                return [int(i) for i in np.argsort(values, kind="stable")]
        return list(range(len(next(iter(self.table.values()), []))))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, which JSON holds."""
        return plain(
            {
                "sentence": self.sentence,
                "rows": [row.to_dict() for row in self.rows],
                "calibration": None if self.calibration is None else self.calibration.to_dict(),
                "judged": None if self.judged is None else self.judged.to_dict(),
                "table": self.table,
                "coverage": self.coverage,
                "guarantee": self.guarantee,
                "importance": [list(pair) for pair in self.importance],
                "comparison": None if self.comparison is None else self.comparison.to_dict(),
                "warnings": self.warnings,
                "about": self.about,
            }
        )

    def __str__(self) -> str:
        from chainrule.lens.interpret.written.terminal import text

        return text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from chainrule.lens.interpret.written.terminal import rich

        return rich(self)

    def _repr_html_(self) -> str:
        from chainrule.lens.interpret.written.page import fragment

        return fragment(self)

    def save(self, path: str | Path, kind: str | None = None) -> Path:
        """Write a page (.html), data (.json) or text (.txt), by the path's ending or `kind`.

        Raises:
            DataError: another ending.
            ChainruleError: the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix if kind is None else kind
        if kind == ".html":
            from chainrule.lens.interpret.written.page import page

            written = page(self)
        elif kind == ".json":
            written = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        elif kind == ".txt":
            written = f"{self}\n"
        else:
            raise DataError(f"{path}: an interpretation is saved as .html, .json or .txt")
        try:
            path.write_text(written, encoding="utf-8")
        except OSError as error:
            raise ChainruleError(f"{path} cannot be written: {error.strerror or error}") from None
        return path


def plain(value: Any) -> Any:
    """Numbers, text, lists and dictionaries; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    return value
