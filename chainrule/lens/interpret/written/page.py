"""An interpretation as one HTML page: no network, no script, pictures as SVG in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from chainrule.lens.interpret.calibration import Calibration, RealCalibration
from chainrule.lens.interpret.sentence import number
from chainrule.lens.interpret.written import charts
from chainrule.lens.interpret.written.terminal import (
    away,
    cell,
    comparison,
    comparison_notes,
    depends,
    in_depth,
    left_over,
    starts,
    table,
)

if TYPE_CHECKING:
    from chainrule.lens.interpret.interpretation import Interpretation, Row, Why

MOST_ROWS = 40
MOST_SPLIT = 20
FEW_PIXELS = 5
MANY = 20
"""Of fewer rows a histogram shows nothing that the table does not."""


def fragment(found: Interpretation) -> str:
    """The page in a frame of its own, so that any number of them may stand in one notebook."""
    return (
        '<iframe title="Interpretation" sandbox="" style="width:100%;height:40rem;'
        'border:1px solid #8888;resize:vertical" '
        f'srcdoc="{escape(page(found))}"></iframe>'
    )


def page(found: Interpretation) -> str:
    """One self-contained page; all text in it is escaped.

    >>> from chainrule.lens.interpret.interpretation import Interpretation
    >>> text = page(Interpretation("Nothing is known of <it>."))
    >>> text.startswith("<!doctype html>"), "&lt;it&gt;" in text, "http" in text
    (True, True, False)
    """
    # The look is that of a diagnosis, but for what this page has of its own.
    packages = ("chainrule.lens.diagnose.written", __package__)
    style = "".join(files(p).joinpath("page.css").read_text(encoding="utf-8") for p in packages)
    subject = found.about.get("subject", "")
    title = f"What the answers{f' of {subject}' if subject else ''} are worth"
    body = "\n".join(
        part
        for part in (
            f"<header><h1>{escape(title)}</h1>",
            f"<p class=verdict role=status>{escape(found.sentence)}</p>",
            *(f"<p class=warning>{escape(w)}</p>" for w in found.warnings),
            f"{_head(found)}</header><main>",
            *map(_row, in_depth(found)),
            _table(found),
            *_calibration(found.calibration),
            *_rows_together(found),
            _importance(found),
            _comparison(found),
            "</main>",
        )
        if part
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _head(found: Interpretation) -> str:
    about = found.about
    facts = [
        ("rows", ", ".join(
            f"{about[name]:,} {said}"
            for name, said in (("rows", "asked about"), ("held_out", "held out"),
                               ("training", "of training"))
            if about.get(name)
        )),
        ("target", about.get("target", "")),
        ("posterior", about.get("posterior", "")),
        ("note", about.get("note", "")),
    ]  # fmt: skip
    told = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in facts if b)
    model = about.get("model", "")
    whole = f"<details><summary>The model</summary><pre>{escape(model)}</pre></details>"
    return f"<dl class=head>{told}</dl>{whole if model else ''}"


def _row(row: Row) -> str:
    parts = [
        f'<article class=finding aria-labelledby="r{row.row}">',
        f'<h3 id="r{row.row}">Row {row.row}: {escape(row.answer)}</h3>',
        f"<p class=claim>{escape(row.sentence)}</p>",
    ]
    if row.why is not None:
        parts.append(_why(row.why))
    if row.flip is not None:
        changes = "".join(
            f"<li>{escape(c)}: {escape(a)} → {escape(b)}</li>" for c, a, b in row.flip.changes
        )
        parts.append(
            f"<p class=label>The smallest change found that makes it {escape(row.flip.becomes)} "
            f"({escape(away(row.flip.distance))})</p><ul>{changes}</ul>"
        )
    if row.neighbours:
        near = ", ".join(
            f"row {n.row} ({escape(n.label)}, cosine {n.similarity:.3f})" for n in row.neighbours
        )
        parts.append(
            "<p class=label>The training rows most like it, in what the last layer sees</p>"
            f"<p>{near}</p>"
        )
    return "".join([*parts, "</article>"])


def _why(why: Why) -> str:
    # Of an image the picture tells more than the names of its pixels.
    some = why.shares if why.image is None else why.shares[:FEW_PIXELS]
    shares = [(f"{s.column} = {s.value}" if s.value else s.column, s.amount) for s in some]
    said = [f"It means {why.meaning}. It does not mean more: {why.not_meaning}."]
    if why.complete:
        if left := left_over(why, some):
            shares.append(("all else", left))
        said.append(
            f"The shares add up to {number(why.output)} − {number(why.base)} but for "
            f"{why.error:.1g}."
        )
    said.append(depends(why))
    image = "" if why.image is None else charts.picture(*why.image)
    return (
        f"<p class=label>{escape(starts(why))}, by {escape(why.method)}</p>{image}"
        f"<figure>{charts.bars(shares, why.of)}<figcaption>{escape(' '.join(filter(None, said)))}"
        "</figcaption></figure>"
    )


def _set_out(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table(found: Interpretation) -> str:
    if len(found.rows) < 2:
        return ""
    heads, rows, left = table(found, MOST_ROWS)
    more = f"<p class=soft>and {left:,} more, all of them in the data (.json)</p>" if left else ""
    law = f"<p class=soft>{escape(found.guarantee)}</p>" if found.guarantee else ""
    return f"<h2>The rows, the most doubtful first</h2>{_set_out(heads, rows)}{more}{law}"


def _figure(title: str, picture: str, caption: str) -> str:
    return (
        f"<section><h2>{escape(title)}</h2><figure>{picture}<figcaption>{escape(caption)}"
        "</figcaption></figure></section>"
    )


def _calibration(facts: Calibration | RealCalibration | None) -> Iterator[str]:
    """What the held-out rows say."""
    if isinstance(facts, Calibration):
        after = (
            f" Recalibrated by {facts.method}, {facts.test_after.ece:.3f} is left."
            if facts.test_after is not None
            else ""
        )
        yield _figure(
            "Do its probabilities mean what they say?",
            charts.reliability(facts.before, facts.after),
            "Each point is a bin of held-out rows, with the 95 % interval of the share that was "
            "right; the grey columns say how many rows it holds. On the broken line answers are "
            "right as often as the network says, below it the network is over-confident. "
            f"Calibration error {facts.test.ece:.3f}; calibrated probabilities would show "
            f"{facts.test.expected[0]:.3f} to {facts.test.expected[1]:.3f} by chance.{after} Log "
            f"score {facts.nll:.3f}, Brier score {facts.brier:.3f}.",
        )
        yield _figure(
            "What if it answers only when it is sure?",
            charts.risk(facts.confidence, facts.hit),
            "The share of wrong answers among the held-out rows that the network is surest of. A "
            "curve that starts low says that it knows what it does not know.",
        )
        yield _figure(
            "How sure it is", charts.histogram(facts.confidence, "what the network says", "Sure"),
            "Of the held-out rows.",
        )  # fmt: skip
    if isinstance(facts, RealCalibration):
        yield _figure(
            "Does its spread mean what it says?", charts.quantiles(facts.coverage),
            "The share of held-out targets below each predicted quantile, with its 95 % interval. "
            f"On the broken line it is as predicted. CRPS {number(facts.crps)}.",
        )  # fmt: skip
        yield _figure(
            "Where the targets fall in their predicted distributions",
            charts.histogram(facts.pit, "P(Y ≤ y)", "Probability integral transform",
                             flat=facts.rows / 20),
            "Flat, along the broken line, where the distributions are right; a valley in the "
            "middle where they are too narrow, a hill where they are too wide.",
        )  # fmt: skip


def _rows_together(found: Interpretation) -> Iterator[str]:
    """What the rows asked about have in common."""
    values, n = found.table, len(found.order)
    if n < 2:
        return
    if "aleatoric" in values and "epistemic" in values:
        real = "std" in values
        yield _figure(
            "Whose the doubt is",
            charts.split(
                [(f"row {values['row'][i]}: {cell('answer', values['answer'][i])}",
                  values["aleatoric"][i], values["epistemic"][i])
                 for i in found.order[:MOST_SPLIT]],
                "" if real else "nats",
            ),
            f"Of the {min(n, MOST_SPLIT)} most doubtful rows. The data's part stays however many "
            "rows there are to learn from; the model's part would go with more of them."
            + (" Variances, in the target's unit squared." if real else ""),
        )  # fmt: skip
    if n < MANY:
        return
    if "set" in values:
        sizes = [len(row.answers) for row in found.rows if row.answers is not None]
        count = [(f"{k} answer{'' if k == 1 else 's'}", float(sizes.count(k)))
                 for k in sorted(set(sizes))]  # fmt: skip
        yield _figure(
            "How many answers cannot be ruled out",
            charts.bars(count, "Sizes of the sets", sign=False),
            f"Rows by the size of their set, which holds the true answer in {found.coverage:.3g} "
            "of rows to come. A set without any answer belongs to a row that is less sure than "
            "that share of the held-out rows.",
        )
    if "low" in values:
        wide = np.array(values["high"]) - np.array(values["low"])
        if np.isfinite(wide).all() and np.ptp(wide) > 1e-6 * wide.max():
            yield _figure(
                "How wide the intervals are",
                charts.histogram(wide, "width, in the target's unit", "Widths", unit=False),
                f"Each holds the true answer with a probability of {found.coverage:.3g}.",
            )


def _importance(found: Interpretation) -> str:
    if not found.importance:
        return ""
    shown = list(found.importance[:MOST_SPLIT])
    return _figure(
        "What moves its answers most", charts.bars(shown, "Importance", sign=False),
        "The mean size of each column's share over the rows that were asked about. It says what "
        "this network uses, not what causes what; columns that tell the same share it.",
    )  # fmt: skip


def _comparison(found: Interpretation) -> str:
    if found.comparison is None:
        return ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison_notes(found.comparison))
    told = (
        "How far each one's predictions for these rows are from those of Hamiltonian Monte Carlo; "
        "in its own row, how far its two halves are from each other, below which no distance can "
        "be told. All have the same prior and noise; the parts of the doubt are in the network's "
        "own units."
    )
    return (
        f"<h2>Posteriors side by side</h2>{_set_out(*comparison(found.comparison))}"
        f"<p class=soft>{escape(told)}</p><ul>{notes}</ul>"
    )
