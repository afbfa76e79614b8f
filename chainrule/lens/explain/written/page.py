"""A derivation as one HTML page: no network, formulas in MathML, a small script.

Without the script everything can be read, at any height; the script lights up where a number came
from and what it feeds, and moves from step to step. The page is made of the derivation's data and
of nothing else; all text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import HEIGHTS, Check, Derivation, Section, Step, Writing
from chainrule.lens.explain.written import page_math as mathematics
from chainrule.lens.explain.written.page_drawing import Drawing, titled

OPEN = 60
"""A derivation of more steps than this opens with its components closed."""


def page(derivation: Derivation) -> str:
    """One self-contained page.

    Args:
        derivation: any derivation.

    Returns:
        HTML that fetches nothing. Its slider has the six `HEIGHTS`; its address remembers which was
        chosen and which step was looked at.

    >>> import chainrule as cr
    >>> text = page(cr.explain(cr.tanh, cr.asarray([0.5])))
    >>> text.startswith("<!doctype html>"), "http" in text
    (True, False)
    """
    return _Page(derivation).whole()


def notebook(derivation: Derivation) -> str:
    """The page in a frame of its own, so that any number of them may stand in one notebook."""
    return (
        f'<iframe title="{escape(derivation.title)}" sandbox="allow-scripts" '
        'style="width:100%;height:40rem;border:1px solid #8888;resize:vertical" '
        f'srcdoc="{escape(page(derivation))}"></iframe>'
    )


class _Page:
    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.given = derivation.given
        self.places: dict[Any, str] = {name: f"g{i}" for i, name in enumerate(derivation.given)}
        self.places |= {step.name: f"s{i}" for i, step in enumerate(derivation.steps)}
        self.sections = 0
        for section in derivation.sections:
            self._number(section)
        made = {step.name: step.value for step in derivation.steps if step.value is not None}
        self.values = {**derivation.given, **made}

    def _number(self, section: Section) -> None:
        self.places[id(section)] = f"p{self.sections}"
        self.sections += 1
        for part in section.parts:
            if isinstance(part, Section):
                self._number(part)

    def whole(self) -> str:
        title = escape(self.derivation.title)
        state = "verified" if self.derivation.verified else "refuted"
        sections = "".join(self.section(section, 2) for section in self.derivation.sections)
        return (
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_file('page.css')}</style>\n</head>\n"
            f'<body class="{state}{self._sidebar}">\n'
            '<a class=skip-link href="#steps">Skip to the steps</a>\n'
            f"<header>{self.headline()}</header>\n{self.controls()}\n"
            f"<script>{_file('page.js')}</script>\n"
            f"{self.network()}<main id=steps tabindex=-1>{sections}{self.givens()}</main>\n"
            "<footer id=trail role=status aria-live=polite></footer>\n</body>\n</html>\n"
        )

    # What stands above

    def headline(self) -> str:
        derivation = self.derivation
        lines = "".join(f"<p>{escape(line)}</p>" for line in derivation.summary)
        links = "".join(
            f' <a href="#{self.places[step.name]}">{escape(step.title)}</a>'
            for step in derivation.failed
        )
        mark = "✓" if derivation.verified else "✗"
        said = f"<p class=verdict><b>{mark}</b> {escape(derivation.verdict())}{links}</p>"
        return f"<h1>{escape(derivation.title)}</h1>{self.black_box()}{said}{lines}"

    def black_box(self) -> str:
        """input → network → output, and the loss."""
        recorded = getattr(self.derivation, "recorded", None)
        if recorded is None:
            return ""
        ends = [recorded.output or recorded.result]
        if recorded.loss is not None and recorded.result is not ends[0]:
            ends.append(recorded.result)
        inputs = ", ".join(self._end(name) for name in recorded.inputs)
        boxes = [inputs, f"<b>{escape(type(recorded.model).__name__)}</b>"]
        boxes += [self._end(recorded.name(node)) for node in ends]
        return f"<p class=flow>{' <i>→</i> '.join(boxes)}</p>"

    def _end(self, name: str) -> str:
        value = self.values.get(name)
        place = self.places.get(name)
        if value is None or place is None:
            return escape(name)
        what = f" = {value.item():.6g}" if value.size == 1 else f" {mathematics.shape(value)}"
        return f'<a href="#{place}" data-of="{place}">{escape(name)}{what.replace("-", "−")}</a>'

    def controls(self) -> str:
        choices = "".join(
            f"<label><input type=radio name=height value={i}><span>{name}</span></label>"
            for i, name in enumerate(HEIGHTS)
        )
        return (
            f"<form class=controls aria-label=View><fieldset class=heights><legend>Height</legend>"
            f"{choices}</fieldset><fieldset class=views><legend>All formulas</legend>"
            "</fieldset><details class=keys><summary>Keys</summary><p><kbd>j</kbd> <kbd>k</kbd> or "
            "<kbd>↓</kbd> <kbd>↑</kbd> next and previous step; <kbd>←</kbd> <kbd>→</kbd> the "
            "numbers of a step; <kbd>Enter</kbd> to where a number is from; <kbd>Esc</kbd> "
            "clears.</p></details></form>"
        )

    # The network

    @property
    def _sidebar(self) -> str:
        return " with-network" if hasattr(self.derivation, "recorded") else ""

    def network(self) -> str:
        recorded = getattr(self.derivation, "recorded", None)
        if recorded is None or not self.derivation.sections:
            return ""
        forward, *rest = self.derivation.sections
        parts = list(forward.parts)
        if recorded.loss is not None and rest:
            parts.append(rest[0])
        named = getattr(recorded.model, "named_buffers", tuple)
        buffers = frozenset(name for name, _ in named())
        drawing = Drawing(self.given, frozenset(recorded.parameters), buffers, self.places)
        return (
            "<nav class=network aria-label='The network'><h2>The network</h2>"
            f"{drawing.level(parts)}</nav>\n"
        )

    # Sections and steps

    def section(self, section: Section, depth: int) -> str:
        inside = "".join(
            self.section(part, depth + 1)
            if isinstance(part, Section)
            else self.step(part, depth + 1)
            for part in section.parts
        )
        place, heading = self.places[id(section)], f"h{min(depth, 6)}"
        name, kind = titled(section.title) if section.kind == "component" else (section.title, "")
        kind = f" <span>{escape(kind)}</span>" if kind else ""
        # An answer to one question has one section, of its own name: that is not shown twice.
        again = " class=aside" if section.title == self.derivation.title else ""
        head = f"<{heading} id={place}h{again}>{escape(name)}{kind}</{heading}>"
        said = f"<span class=summary>{escape(section.summary)}</span>" if section.summary else ""
        failed = [step for step in section.walk() if not step.verified]
        count = "1 step does" if len(failed) == 1 else f"{len(failed)} steps do"
        wrong = f"<b class=wrong>✗ {count} not hold</b>" if failed else ""
        if section.kind != "component":
            said = f"<p>{said}</p>" if said else ""
            return (
                f'<section id={place} aria-labelledby={place}h class="part from-components">'
                f"{head}{said}{wrong}{inside}</section>"
            )
        opened = " open" if len(self.derivation.steps) <= OPEN or failed else ""
        return (
            f"<details id={place} class=component{opened}><summary>{head}{said}{wrong}</summary>"
            f"<div class=from-shapes>{inside}</div></details>"
        )

    def step(self, step: Step, depth: int) -> str:
        place, heading = self.places[step.name], f"h{min(depth, 6)}"
        sources = [self.places[name] for name in step.operands if name in self.places]
        size = "" if step.value is None else ",".join(map(str, step.value.shape))
        wrong = "" if step.verified else " refuted"
        mark, said = ("✓", "checked") if step.verified else ("✗", "does not hold")
        if not step.checks:
            mark, said = "○", "nothing to check"
        rule = f"<p class='rule symbols'>{escape(step.rule)}</p>" if step.rule else ""
        rows = "".join(self.rows(step))
        return (
            f'<article id={place} class="step{wrong}" data-name="{escape(step.name)}" '
            f'data-shape="{size}" data-from="{" ".join(dict.fromkeys(sources))}">'
            f'<header><{heading}><a class=mark href="#{place}" data-of={place} '
            f'aria-label="{escape(step.name)}: {said}">{mark}</a>'
            f"{mathematics.linked(step.title, self._around(step))}</{heading}>"
            f"{rule}{self.shapes(step)}</header>"
            f"<dl>{rows}</dl></article>"
        )

    def shapes(self, step: Step) -> str:
        """`z1 (1, 32) ← x (1, 64), 0.weight (32, 64)`."""
        if step.value is None:
            return ""
        sizes = ", ".join(
            f"{self._quantity(name)} {mathematics.shape(self.values[name])}"
            for name in dict.fromkeys(step.operands)
            if name in self.values
        )
        arrow = " ← " if sizes else ""
        own = f"{self._quantity(step.name)} {mathematics.shape(step.value)}"
        return f"<p class='shapes from-shapes'>{own}{arrow}{sizes}</p>"

    def rows(self, step: Step) -> list[str]:
        """What is said about a step: a row for each part that it has."""
        around = self._around(step)

        def written(writing: Writing | None) -> str:
            return mathematics.formula(writing, around) if writing is not None else ""

        general = step.formula
        if general is not None and step.named is not None and general.plain() == step.named.plain():
            general = None
        alone = general is None or step.named is None
        numbers = "".join(
            mathematics.element(element, step.name, self.places, self.values)
            for element in step.elements
        )
        checks = "".join(_check(check) for check in step.checks)
        # In prose a single letter need not be a quantity.
        named = {name: place for name, place in around.items() if len(name) > 1}
        notes = "".join(f"<p>{mathematics.linked(note, named)}</p>" for note in step.notes)
        line = f"<span class=soft>{escape(step.where)}</span>" if step.where else ""
        code = f"<code>{escape(step.code)}</code>" if step.code else ""
        rows = (
            ("symbols", "formula" if alone else "in general", written(general)),
            ("symbols", "formula" if alone else "here", written(step.named)),
            ("symbols", "as matrices", written(step.matrix)),
            ("numbers", "numbers", numbers),
            ("numbers", "value", self._value(step)),
            ("numbers", "means", notes),
            ("numbers", "checks", f"<ul>{checks}</ul>" if checks else ""),
            ("source", "source", f"{code} {line}".strip()),
        )
        return [
            f"<div class={view}><dt>{label}</dt><dd>{inside}</dd></div>"
            for view, label, inside in rows
            if inside
        ]

    def _value(self, step: Step) -> str:
        if step.value is None:
            return ""
        index = step.elements[0].index if step.elements else None
        return mathematics.array(step.value, self.places[step.name], step.name, index)

    def _around(self, step: Step) -> dict[str, str]:
        """The quantities that a step is about: only their names mean quantities in its text."""
        names = (step.name, *step.operands)
        return {name: self.places[name] for name in names if name in self.places}

    def _quantity(self, name: str) -> str:
        place = self.places.get(name)
        return f"<span data-of={place}>{escape(name)}</span>" if place else escape(name)

    # What is given

    def givens(self) -> str:
        if not self.given:
            return ""
        cards = "".join(
            f'<article id={self.places[name]} class="step given" data-name="{escape(name)}" '
            f'data-shape="{",".join(map(str, value.shape))}" data-from="">'
            f"<header><h3><a href='#{self.places[name]}' data-of={self.places[name]}>{escape(name)}"
            f"</a></h3><p class=shapes>{mathematics.shape(value)}</p></header><dl>"
            "<div class=numbers>"
            f"<dt>value</dt><dd>{mathematics.array(value, self.places[name], name)}</dd></div></dl>"
            "</article>"
            for name, value in self.given.items()
        )
        return (
            "<section id=given class='part from-components' aria-labelledby=givenh>"
            "<h2 id=givenh>Given</h2><details class=component"
            f"{' open' if len(self.derivation.steps) <= OPEN else ''}><summary><span class=summary>"
            f"{_counted(self.given)}</span></summary><div class=from-shapes>{cards}</div></details>"
            "</section>"
        )


def _counted(given: Mapping[str, np.ndarray]) -> str:
    total = sum(value.size for value in given.values())
    return f"{len(given):,} arrays with {total:,} numbers, from which every step starts"


def _check(check: Check) -> str:
    kind = "holds" if check.holds else "fails"
    return f"<li class={kind}>{escape(str(check))}</li>"


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
