"""The report of a run: one HTML page that needs no network and no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from chainrule.train.charts import curves, interval, scatter

MOST_CLASSES = 30
MOST_CONFUSED = 20

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
@media print { body { max-width: none; } .card { break-inside: avoid; } }
"""


def report_html(run: dict[str, Any]) -> str:
    """The page of a run.

    Args:
        run: plain data: `title`, `command`, `data`, `score`, `other_scores`, `history`,
            `best_epoch`, `stopped`, `least_loss`, `model`, `settings`, `confusion` or
            `predicted_against_true`, `versions`, `seed`, `seconds`. All text in it is escaped.
    """
    title = escape(run["title"])
    parts = [
        f"<h1>{title}</h1>",
        f"<p class=soft><code>{escape(run['command'])}</code></p>" if run["command"] else "",
        _headline(run),
        _curves(run),
        _confusion(run["confusion"]),
        _scatter(run["predicted_against_true"]),
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
    """A number for people; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def _rows(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(number(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def _headline(run: dict[str, Any]) -> str:
    score, target = run["score"], escape(run["data"]["target"])
    name, value = escape(score["name"]), score["value"]
    if run["data"]["task"] == "classification":
        right = round(value * score["n"])
        sentence = (
            f"Of {score['n']} rows that it had never seen, the network says the right {target} for "
            f"{right}. "
        )
    else:
        sentence = (
            f"On {score['n']} rows that it had never seen, the network explains {value:.1%} of "
            f"what makes {target} differ from row to row. "
        )
    sentence += (
        f"From so many rows the {name} is known to lie between {number(score['low'])} and "
        f"{number(score['high'])} (95 % interval); {escape(score['baseline_name'])} scores "
        f"{number(score['baseline'])}."
    )
    others = ""
    if run["other_scores"]:
        head = ["measure on the test rows", "value", "from", "to", "baseline", "which is"]
        others = _rows(
            head,
            [
                [s["name"], s["value"], s["low"], s["high"], s["baseline"], s["baseline_name"]]
                for s in [score, *run["other_scores"]]
            ],
        )
    picture = interval(score["value"], score["low"], score["high"], score["baseline"], name)
    return (
        f"<div class=card><p class=soft>test {name}</p><p class=score>{value:.4f}</p>{picture}"
        f"<p>{sentence}</p></div>{others}"
    )


def _curves(run: dict[str, Any]) -> str:
    history, best = run["history"], run["best_epoch"]
    epochs = [e["epoch"] for e in history]
    losses = {
        "training loss": [e["train_loss"] for e in history],
        "validation loss": [e["validation_loss"] for e in history],
    }
    drawn = curves(epochs, losses, best, "loss")
    scores = [e["validation_score"] for e in history]
    if any(s is not None for s in scores):
        name = "accuracy" if run["data"]["task"] == "classification" else "R²"
        drawn += curves(epochs, {f"validation {name}": scores}, best, name)
    least = ""
    if run["least_loss"]:
        least = (
            "Both count each label as a little of every class (label smoothing), so that "
            f"{number(run['least_loss'])} is the least that they can be."
        )
    return (
        f"<h2>Training</h2><p>{len(history)} epochs in {history[-1]['seconds']:.1f} s; "
        f"{escape(run['stopped'])}. The weights of epoch {best} were kept (the dashed line). The "
        f"training loss is measured with dropout at work, the validation loss without. {least}</p>"
        f"{drawn}"
    )


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
        return "<h2>What is taken for what</h2>" + _rows(
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
        "<h2>What is taken for what</h2><p class=soft>Rows: what it is. Columns: what the network "
        f"says. Test rows.</p><div class=wide><table class=matrix><thead><tr><th></th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _short(name: str, most: int = 14) -> str:
    shown = name if len(name) <= most else name[: most - 1] + "…"
    return f'<span title="{escape(name, quote=True)}">{escape(shown)}</span>'


def _scatter(pairs: Any) -> str:
    if not pairs:
        return ""
    return (
        "<h2>Predicted against true</h2><p class=soft>Each dot is a test row; on the line the "
        f"prediction is right.</p>{scatter(pairs, 'true', 'predicted')}"
    )


def _data(data: dict[str, Any]) -> str:
    features = ", ".join(escape(name) for name in data["features"][:60])
    more = len(data["features"]) - 60
    notes = "".join(f"<li>{escape(note)}</li>" for note in data["notes"])
    return (
        f"<h2>Data</h2><p>{escape(str(data['table']))}: {data['rows']} rows, of which "
        f"{data['train']} were trained on, {data['validation']} stopped the training and "
        f"{data['test']} tested the result. The split was drawn before anything was fitted.</p>"
        f"<p class=soft>{len(data['features'])} columns: {features}"
        + (f", and {more} more" if more > 0 else "")
        + "</p>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _network(run: dict[str, Any]) -> str:
    settings = [[k, ", ".join(map(str, v)) if isinstance(v, list) else v]
                for k, v in run["settings"].items()]  # fmt: skip
    versions = ", ".join(f"{escape(k)} {escape(v)}" for k, v in run["versions"].items())
    return (
        f"<h2>Network</h2><p>{run['model']['parameters']} parameters.</p>"
        f"<pre>{escape(run['model']['architecture'])}</pre>{_rows(['setting', 'value'], settings)}"
        f"<p class=soft>{versions}; seed {run['seed']}; {run['seconds']:.1f} s in all</p>"
    )


def _use(run: dict[str, Any]) -> str:
    return (
        "<h2>Use it</h2><pre>chainrule predict RUN TABLE --out predictions.csv\n"
        "chainrule explain RUN --row 0</pre><p class=soft>RUN is the folder of this page.</p>"
    )
