"""The report of a run: one HTML page that needs no network and no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from chainrule.train.charts import curves, interval, scatter

MOST_CLASSES = 30
MOST_CONFUSED = 20
MOST_DOTS = 2000

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5d666f; --line: #d8dce1;
  --ground: #ffffff; --card: #f6f7f9; --a: #1f5fbf; --b: #c2571a; --good: #1f7a4d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a2abb4; --line: #3a4149;
  --ground: #15181c; --card: #1e2227; --a: #7fb2ff; --b: #ff9d5c; --good: #62c794; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; color: var(--ink);
  background: var(--ground); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); }
.score { font-size: 2.6rem; font-weight: 650; font-variant-numeric: tabular-nums;
  line-height: 1.1; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.1rem 1.25rem; margin: 1.25rem 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); }
.matrix td, .matrix th { text-align: center; border: 1px solid var(--line);
  padding: .25rem .45rem; }
code, pre { font: .88rem/1.45 ui-monospace, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem 1rem; overflow-x: auto; }
caption { text-align: left; color: var(--soft); padding: 0 0 .5rem; }
.words td { text-align: left; overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; } .card, svg, tr { break-inside: avoid; }
  h2 { break-after: avoid; } .matrix td { print-color-adjust: exact; } }
"""


def report_html(run: dict[str, Any]) -> str:
    """The page of a run.

    Args:
        run: plain data: `title`, `command`, `data`, `score`, `other_scores`, `history`,
            `best_epoch`, `stopped`, `model`, `settings`, `confusion` or
            `predicted_against_true`, `versions`, `seed`, `seconds`, and where labels are smoothed
            `least_loss`. All text in it is escaped; a number that is None or not finite is said
            to be missing, and not drawn.
    """
    title = escape(run["title"])
    parts = [
        f"<h1>{title}</h1>",
        f"<p class=soft><code>{escape(run['command'])}</code></p>" if run["command"] else "",
        _headline(run),
        _curves(run),
        _confusion(run["confusion"]),
        _scatter(run["predicted_against_true"], run["data"]["target"]),
        _data(run["data"]),
        _network(run),
        _use(run),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def number(value: Any) -> str:
    """A number for people; a dash where there is none.

    >>> number(0.98611), number(12), number(float("nan")), number(None)
    ('0.9861', '12', '–', '–')
    """
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _known(*values: float | None) -> bool:
    return all(v is not None and math.isfinite(v) for v in values)


def _rows(head: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> str:
    top = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    cells = "".join(
        f"<tr><th scope=row>{escape(number(row[0]))}</th>"
        + "".join(f"<td>{escape(number(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class=wide><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{cells}</tbody>'
        "</table></div>"
    )


def _headline(run: dict[str, Any]) -> str:
    score, name = run["score"], escape(run["score"]["name"])
    ends = (score["low"], score["high"], score["baseline"])
    picture = interval(score["value"], *ends, name) if _known(score["value"], *ends) else ""
    others = ""
    if run["other_scores"]:
        head = ["measure on the test rows", "value", "from", "to", "baseline", "which is"]
        columns = ("name", "value", "low", "high", "baseline", "baseline_name")
        scores = [score, *run["other_scores"]]
        others = _rows(head, [[s[column] for column in columns] for s in scores])
    shown = f"{score['value']:.4f}" if _known(score["value"]) else "–"
    return (
        f"<div class=card><p class=soft>test {name}</p><p class=score>{shown}</p>{picture}"
        f"<p>{_sentence(run)}</p></div>{others}"
    )


def _sentence(run: dict[str, Any]) -> str:
    score, target = run["score"], escape(run["data"]["target"])
    name, value, baseline = escape(score["name"]), score["value"], score["baseline"]
    if not _known(value):
        return f"The {name} of the {score['n']} test rows is not a number."
    if run["data"]["task"] == "classification":
        said = (
            f"Of {score['n']} rows that it had never seen, the network says the right {target} for "
            f"{round(value * score['n'])}."
        )
    elif value > 0:
        said = (
            f"On {score['n']} rows that it had never seen, the network explains {value:.1%} of "
            f"what makes {target} differ from row to row."
        )
    else:
        said = (
            f"On {score['n']} rows that it had never seen, the network says {target} no better "
            "than their mean would."
        )
    if _known(score["low"], score["high"]):
        said += (
            f" From so many rows the {name} is known to lie between {number(score['low'])} and "
            f"{number(score['high'])} (95 % interval)"
        )
        if _known(baseline):
            said += f"; {escape(score['baseline_name'])} scores {number(baseline)}"
            if baseline >= score["low"]:
                said += ", so these rows do not show that the network is better than that"
        said += "."
    return said


def _curves(run: dict[str, Any]) -> str:
    history, best = run["history"], run["best_epoch"]
    if not history:
        return f"<h2>Training</h2><p>No epoch was trained; {escape(run['stopped'])}.</p>"
    epochs = [e["epoch"] for e in history]
    losses = {
        "training loss": [e["train_loss"] for e in history],
        "validation loss": [e["validation_loss"] for e in history],
    }
    drawn = curves(epochs, losses, best, "loss")
    scores = [e["validation_score"] for e in history]
    validated = any(e["validation_loss"] is not None for e in history)
    if any(s is not None for s in scores):
        name = "accuracy" if run["data"]["task"] == "classification" else "R²"
        drawn += curves(epochs, {f"validation {name}": scores}, best, name)
    least = ""
    if run.get("least_loss"):
        least = (
            "Labels count as a little of every class too (label smoothing), so that "
            f"{number(run['least_loss'])} is the least that a loss can be."
        )
    how = "There were no validation rows to choose an epoch by."
    if validated:
        how = (
            "The training loss is the mean over the epoch, while the weights moved and with any "
            "dropout at work; the validation loss is measured after it, without."
        )
    epochs_said = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    return (
        f"<h2>Training</h2><p>{epochs_said} in {_seconds(history[-1]['seconds'])}; "
        f"{escape(run['stopped'])}. The weights of epoch {best} were kept (the dashed line). {how} "
        f"{least}</p>{drawn}"
    )


def _seconds(value: float | None) -> str:
    return f"{value:.1f} s" if value is not None and math.isfinite(value) else "– s"


def _confusion(confusion: Any) -> str:
    if confusion is None:
        return ""
    names, matrix = confusion["classes"], confusion["matrix"]
    if len(names) > MOST_CLASSES:
        pairs = [
            (matrix[i][j], names[i], names[j])
            for i in range(len(names))
            for j in range(len(names))
            if i != j and matrix[i][j]
        ]
        pairs.sort(key=lambda pair: -pair[0])
        what = f"The most frequent of {len(pairs)} confusions among {len(names)} classes."
        return f"<h2>What is taken for what</h2><p class=soft>{what}</p>" + _rows(
            ["is", "taken for", "test rows"], [[a, b, n] for n, a, b in pairs[:MOST_CONFUSED]]
        )
    short = [_short(name) for name in names]
    head = "".join(f"<th scope=col>{name}</th>" for name in short)
    body = ""
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        cells = ""
        for j, count in enumerate(row):
            colour = "var(--good)" if i == j else "var(--b)"
            share = round(100 * (count / total) * (0.45 if i == j else 0.9))
            style = (
                f"background:color-mix(in srgb, {colour} {share}%, transparent)" if count else ""
            )
            cells += f'<td style="{style}">{count or ""}</td>'
        body += f"<tr><th scope=row>{short[i]}</th>{cells}</tr>"
    return (
        "<h2>What is taken for what</h2><div class=wide><table class=matrix><caption>Test rows. "
        "Each line is what a row is, each column what the network says.</caption><thead><tr>"
        f"<td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _short(name: str, most: int = 14) -> str:
    shown = name if len(name) <= most else name[: most - 1] + "…"
    return f'<span title="{escape(name, quote=True)}">{escape(shown)}</span>'


def _scatter(pairs: Any, target: str) -> str:
    if not pairs:
        return ""
    drawn = scatter(pairs[:MOST_DOTS], f"true {target}", f"predicted {target}")
    which = "a test row" if len(pairs) <= MOST_DOTS else f"one of the first {MOST_DOTS} test rows"
    return (
        f"<h2>Predicted against true</h2><p class=soft>Each dot is {which}; on the line the "
        f"prediction is right.</p>{drawn}"
    )


def _data(data: dict[str, Any]) -> str:
    features = ", ".join(escape(name) for name in data["features"][:60])
    more = len(data["features"]) - 60
    notes = "".join(f"<li>{escape(note)}</li>" for note in data["notes"])
    return (
        f"<h2>Data</h2><p>{escape(data['table'] or 'Arrays in memory')}: {data['rows']} rows, of "
        f"which {data['train']} were trained on, {data['validation']} were held back to stop the "
        f"training and to calibrate, and {data['test']} tested the result. The split was drawn "
        "before anything was fitted.</p>"
        f"<p class=soft>{len(data['features'])} columns: {features}"
        + (f", and {more} more" if more > 0 else "")
        + "</p>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _network(run: dict[str, Any]) -> str:
    settings = [[k, ", ".join(map(str, v)) if isinstance(v, list) else v]
                for k, v in run["settings"].items()]  # fmt: skip
    versions = ", ".join(f"{escape(k)} {escape(str(v))}" for k, v in run["versions"].items())
    return (
        f"<h2>Network</h2><p>{run['model']['parameters']} parameters.</p>"
        f"<pre>{escape(run['model']['architecture'])}</pre>"
        f"{_rows(['setting', 'value'], settings, 'words')}"
        f"<p class=soft>{versions}; seed {run['seed']}; {_seconds(run['seconds'])} in all</p>"
    )


def _use(run: dict[str, Any]) -> str:
    return (
        "<h2>Use it</h2><pre>chainrule predict RUN TABLE --out predictions.csv\n"
        "chainrule explain RUN --row 0</pre><p class=soft>RUN is the folder of this page.</p>"
    )
