"""A diagnosis as one HTML page: no network, no script, pictures as SVG in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import shown
from chainrule.lens.diagnose.written.charts import pictures
from chainrule.lens.diagnose.written.comparisons import trial, width_curve
from chainrule.lens.diagnose.written.terminal import head, not_looked_at, number, times

if TYPE_CHECKING:
    from chainrule.lens.diagnose.diagnosis import Diagnosis

LONG = 16
"""A diff of more lines is folded."""


def fragment(diagnosis: Diagnosis) -> str:
    """The page in a frame of its own, so that any number of them may stand in one notebook."""
    return (
        '<iframe title="Diagnosis" sandbox="" style="width:100%;height:40rem;'
        'border:1px solid #8888;resize:vertical" '
        f'srcdoc="{escape(page(diagnosis))}"></iframe>'
    )


def page(diagnosis: Diagnosis) -> str:
    """One self-contained page; all text in it is escaped.

    >>> from chainrule.lens.diagnose import Diagnosis
    >>> text = page(Diagnosis(looked_at=[("double-softmax", "the loss that takes logits")]))
    >>> text.startswith("<!doctype html>"), "Nothing found." in text, "http" in text
    (True, True, False)
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    subject = diagnosis.about.get("subject", "")
    title = f"Diagnosis{f' of {subject}' if subject else ''}"
    body = "\n".join(
        part
        for part in (
            f"<header><h1>{escape(title)}</h1>",
            f"<p class=verdict role=status>{escape(diagnosis.verdict())}</p>",
            f"{_head(diagnosis)}</header>",
            "<main>",
            *(_finding(i, f) for i, f in enumerate(diagnosis.findings, 1)),
            _together(diagnosis),
            _advice(diagnosis),
            _measurements(diagnosis),
            _pictures(diagnosis),
            _looked(diagnosis),
            "</main>",
        )
        if part
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="{"healthy" if diagnosis.healthy else "ill"}">\n{body}\n</body>\n</html>\n'
    )


def _head(diagnosis: Diagnosis) -> str:
    rows = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(said)}</dd>" for label, said in head(diagnosis)
    )
    whole = diagnosis.about.get("model", "")
    model = f"<details><summary>The model</summary><pre>{escape(whole)}</pre></details>"
    return f"<dl class=head>{rows}</dl>{model if whole else ''}" if rows else ""


def _finding(position: int, finding: Finding) -> str:
    parts = [
        f'<article class="finding {finding.severity}" aria-labelledby="f{position}">',
        f"<p class=kind>{finding.severity}</p>",
        f'<h3 id="f{position}">{position}. {escape(finding.rule)} at <code>'
        f"{escape(shown(finding.where))}</code></h3><p class=claim>{escape(finding.claim)}</p>",
        _evidence(finding.evidence),
        f"<p class=label>Cause</p><p>{escape(finding.cause)}</p>" if finding.cause else "",
        _remedy(finding),
        "</article>",
    ]
    return "".join(parts)


def _evidence(measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{escape(m.what)}"
        + (f" <span class=soft>({escape(m.how)})</span>" if m.how else "")
        + f"</th><td>{escape(number(m.value))}</td><td>{escape(m.expected)}</td></tr>"
        for m in measured
    )
    return (
        "<p class=label>Evidence</p><div class=wide><table><thead><tr><th scope=col>measured</th>"
        "<th scope=col>here</th><th scope=col>expected</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _remedy(finding: Finding) -> str:
    remedy, made = finding.remedy, ""
    if remedy is not None:
        code = f"<pre>{escape(remedy.code)}</pre>" if remedy.code else ""
        made = f"<p class=label>Remedy</p><p><b>{escape(remedy.title)}</b></p>{code}"
    elif finding.remedies:
        tried = "; ".join(change.title for change in finding.remedies)
        made = (
            f"<p class=label>Remedy</p><p>None recommended: tried without gain: {escape(tried)}</p>"
        )
    rows = finding.diff.splitlines()
    if rows:
        shown = f"<pre>{''.join(map(_marked, rows))}</pre>"
        opened = " open" if len(rows) <= LONG else ""
        made += f"<details{opened}><summary>What to change</summary>{shown}</details>"
    if finding.trial is not None:
        made += (
            f"<p class=label>Trial</p><p>{escape(finding.trial.sentence())}</p>"
            f"<figure>{trial(finding.trial)}</figure>"
        )
    return made


def _together(diagnosis: Diagnosis) -> str:
    found = diagnosis.together
    if found is None or len(found.rules) < 2:
        return ""
    return (
        '<article class="finding advice" aria-labelledby=together>'
        f"<h3 id=together>Together</h3><p class=claim>{escape(found.change.title)}</p>"
        f"<p>{escape(found.trial.sentence())}</p><figure>{trial(found.trial)}</figure></article>"
    )


def _advice(diagnosis: Diagnosis) -> str:
    found = diagnosis.advice
    if found is None:
        return ""
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.sentences)
    head = ("change", "layer", "error", "gain (90 % interval)", "per parameter", "verdict")
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in found.table()
    )
    drawn = "".join(
        f"<figure><figcaption>{escape(curve.sentence())}</figcaption>{width_curve(curve)}</figure>"
        for curve in found.curves
    )
    return (
        "<section aria-labelledby=advice><h2 id=advice>Would another network learn better?</h2>"
        f"<ul>{said}</ul><p class=soft>Each was trained for {found.epochs} of {found.of} epochs "
        f"with {len(found.error)} seeds ({found.seconds:.1f} s of {found.budget:g} s).</p>"
        "<div class=wide><table><thead><tr>"
        + "".join(f"<th scope=col>{name}</th>" for name in head)
        + f"</tr></thead><tbody>{rows}</tbody></table></div>{drawn}</section>"
    )


def _measurements(diagnosis: Diagnosis) -> str:
    found = diagnosis.measurements
    if found is None:
        return ""
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in found.table()
    )
    return (
        "<section aria-labelledby=measured><h2 id=measured>Measured</h2><div class=wide><table>"
        "<thead><tr>"
        + "".join(f"<th scope=col>{name}</th>" for name in ("of", "what", "value", "", "source"))
        + f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _marked(line: str) -> str:
    kind = {"+": "ins", "-": "del"}.get(line[:1])
    text = escape(line)
    return (f"<{kind}>{text}</{kind}>" if kind else text) + "\n"


def _pictures(diagnosis: Diagnosis) -> str:
    if diagnosis.trace is None:
        return ""
    drawn = "".join(
        f"<figure><h3>{title}</h3><figcaption>{said}</figcaption>{picture}</figure>"
        for title, said, picture in pictures(
            diagnosis.trace, diagnosis.about.get("chance"), diagnosis.slopes
        )
    )
    return (
        f"<section aria-labelledby=measured><h2 id=measured>The run, measured</h2>{drawn}</section>"
    )


def _looked(diagnosis: Diagnosis) -> str:
    items = "".join(
        f"<li><b>{escape(rule)}</b>: {escape(what)}</li>" for rule, what in diagnosis.looked_at
    )
    items += "".join(
        f"<li class=soft>not looked at, since {escape(why)}: {escape(', '.join(rules))}</li>"
        for why, rules in not_looked_at(diagnosis)
    )
    opened = "" if diagnosis.findings else " open"
    took = f"<p class=soft>{escape(times(diagnosis))}.</p>" if diagnosis.seconds else ""
    return (
        f"<details{opened}><summary>What was looked at: {len(diagnosis.looked_at)} rules</summary>"
        f"<ul>{items}</ul></details>{took}"
    )
