"""A derivation as the source of a LaTeX document: article, amsmath, amssymb, and nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import numpy as np

from chainrule.lens.explain.derivation import Derivation, Section, Step, Writing
from chainrule.lens.explain.written.terminal import about, black_box, corner
from chainrule.ops.notation.render import latex_name

WIDTH = 72
"""About how many characters of a formula fit into a line."""
_PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{amsmath,amssymb}
\usepackage[margin=2.2cm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setcounter{secnumdepth}{0}
% A character for which this document knows no command: by number where the engine has it.
\ifdefined\Umathchar\newcommand{\uni}[1]{\text{\symbol{"#1}}}\else
\newcommand{\uni}[1]{\text{[U+#1]}}\fi
"""
_HEADINGS = ("section", "subsection", "subsubsection")
_TEXT = {
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
}  # fmt: skip
_COMMANDS = {
    "ε": "varepsilon", "φ": "varphi", "∂": "partial", "∞": "infty", "→": "rightarrow",
    "←": "leftarrow", "⇒": "Rightarrow", "·": "cdot", "×": "times", "⊙": "odot", "√": "surd",
    "≤": "le", "≥": "ge", "≠": "ne", "≈": "approx", "…": "dots", "⋯": "cdots", "⋮": "vdots",
    "⋱": "ddots", "⟨": "langle", "⟩": "rangle", "‖": "Vert", "∈": "in", "∇": "nabla",
    "✓": "checkmark", "✗": "times", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "±": "pm", "∝": "propto", "∼": "sim", "⊗": "otimes", "∘": "circ", "ℓ": "ell", "ᵀ": "{}^{\\top}",
    "−": "-", "′": "{}'", "𝟏": "mathbf{1}", "½": "tfrac12", "¼": "tfrac14", "⁻": "{}^{-}",
}  # fmt: skip
_ACCENTS = {"\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot"}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁺", "0123456789()+", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))


def document(derivation: Derivation) -> str:
    """The source: sections, formulas, one element's numbers, values, checks.

    >>> import chainrule as cr
    >>> source = document(cr.explain(cr.tanh, cr.asarray([0.5])))
    >>> r"a = \\operatorname{tanh}\\left(x\\right)" in source
    True
    """
    lines = [_PREAMBLE, r"\begin{document}", rf"\begin{{center}}\Large {words(derivation.title)}"]
    lines += [r"\end{center}", "", *(words(said) + r"\\" for said in black_box(derivation)), ""]
    for section in derivation.sections:
        lines += _section(section, 0)
    lines += ["", r"\bigskip\hrule\medskip", words(derivation.verdict()), r"\end{document}", ""]
    return "\n".join(lines)


def _section(section: Section, depth: int) -> Iterator[str]:
    yield ""
    if depth < len(_HEADINGS):
        yield rf"\{_HEADINGS[depth]}{{{words(section.title)}}}"
    else:
        yield rf"\medskip\textbf{{{words(section.title)}}}\par"
    if section.summary:
        yield words(section.summary) + r"\par"
    for part in section.parts:
        yield from _section(part, depth + 1) if isinstance(part, Section) else _step(part)


def _step(step: Step) -> Iterator[str]:
    yield ""
    place = rf"\hfill{{\small {words(step.where)}}}" if step.where else ""
    yield rf"\medskip\textbf{{{words(step.title)}}}{place}\par"
    if step.rule:
        yield rf"\emph{{{words(step.rule)}}}\par"
    for writing in _different(step.formula, step.named, step.matrix):
        yield display(writing.latex())
    for element in step.elements:
        names = [_label(name) for name in (element.label(step.name), element.moved_from) if name]
        yield display(" = ".join([*names, element.instance.latex()]))
    if step.value is not None and step.value.size > 1:
        yield from _value(step.value)
    for check in step.checks:
        mark = r"$\checkmark$" if check.holds else r"\textbf{does not hold:}"
        said = f"{check.route}: off by {check.difference:.2g}, bound {check.bound:.2g}"
        yield rf"{{\small {mark} {words(said)}}}\par"
    for note in step.notes:
        yield rf"{words(note)}\par"


def _different(*writings: Writing | None) -> Iterator[Writing]:
    seen = set()
    for writing in writings:
        if writing is not None and (text := writing.plain()) not in seen:
            seen.add(text)
            yield writing


def _label(label: str) -> str:
    """An element's name, such as z1[0, 2]."""
    name, bracket, index = label.partition("[")
    found = latex_name(name)
    return f"{found}[{index}" if bracket else found


def _value(value: np.ndarray) -> Iterator[str]:
    yield rf"{words(f'{value.shape}{about(value)}')}\par"
    rows = [" & ".join(row) for row in corner(value)]
    yield display(r"\begin{bmatrix} " + r" \\ ".join(rows) + r" \end{bmatrix}")


def words(text: str) -> str:
    """Text for LaTeX's text mode."""
    return ascii_only("".join(_TEXT.get(c, c) for c in text))


def display(tex: str) -> str:
    """A formula on lines of its own, as many as it needs."""
    tex = re.sub(r"(?<=\d)e([-−]?)\+?(\d+)", r"\\mathrm{e}{\1}\2", tex)
    tex = ascii_only(tex)
    first, *more = lines_of(tex)
    if not more:
        return rf"\[ {first} \]"
    rest = "".join(rf" \\" "\n" rf"&\quad {line}" for line in more)
    return "\\begin{align*}\n" rf"& {first}{rest}" "\n\\end{align*}"


def lines_of(tex: str, width: int = WIDTH) -> list[str]:
    r"""A formula broken where nothing is open: at `\\`, and before signs once a line is full.

    >>> lines_of(r"a = \left(b + c\right) + d", width=8)
    ['a = \\left(b + c\\right)', '+ d']
    """
    lines, line = [], ""
    for atom in _atoms(tex):
        if atom == r"\\":
            lines.append(line)
            line = ""
            continue
        sign = atom.startswith(("+ ", "- ", "= "))
        if sign and line and _width(line) + _width(atom) > width:
            lines.append(line)
            line = ""
        line = f"{line} {atom}".strip()
    return [line for line in [*lines, line] if line.strip()]


def _atoms(tex: str) -> Iterator[str]:
    """The parts of a formula between which a line may end."""
    depth, start = 0, 0
    for match in re.finditer(r"\\left|\\right|\\begin|\\end|\\\\|\\.|[{}]| (?=[-+=] )", tex):
        token = match.group()
        if token in ("{", r"\left", r"\begin"):
            depth += 1
        elif token in ("}", r"\right", r"\end"):
            depth -= 1
        elif not depth and token in (" ", r"\\"):
            yield tex[start : match.start()].strip()
            if token == r"\\":
                yield token
            start = match.end()
    yield tex[start:].strip()


def _width(tex: str) -> int:
    """About how many characters are seen of a formula."""
    tex = re.sub(r"\\(left|right|mathrm|text|operatorname|begin|end|frac|quad)\b", "", tex)
    return len(re.sub(r"\\[a-zA-Z]+|\\.", "x", tex).translate(str.maketrans("", "", "{}_^& ")))


def ascii_only(tex: str) -> str:
    """Every character that is not ASCII as a command that is right in text and in formulas."""
    tex = re.sub(f"[{''.join(_RAISED)}]+", lambda m: _script("^", m.group(), _RAISED), tex)
    tex = re.sub(f"[{''.join(_LOWERED)}]+", lambda m: _script("_", m.group(), _LOWERED), tex)
    found = []
    for char in re.findall(r"(?s).[\u0302-\u0304\u0307]?", tex):
        found.append(char if char.isascii() else _command(char))
    return "".join(found)


def _script(sign: str, text: str, plain: dict[str, str]) -> str:
    return rf"\ensuremath{{{{}}{sign}{{{''.join(plain[c] for c in text)}}}}}"


def _command(char: str) -> str:
    base, accent = (*unicodedata.normalize("NFD", char), "", "")[:2]
    if accent in _ACCENTS:
        inner = base if base.isascii() else _COMMANDS.get(base, "?")
        return rf"\ensuremath{{\{_ACCENTS[accent]}{{{inner}}}}}"
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(char, ""))
    if char in _COMMANDS or greek:
        command = _COMMANDS.get(char) or _greek(*greek.groups())  # type: ignore[union-attr]
        return rf"\ensuremath{{{command if command[0] in '{-' else chr(92) + command}}}"
    if "\xc0" <= char <= "\u017f":  # letters that T1 has
        return rf"\text{{{char}}}"
    return {"–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "\xa0": "~"}.get(
        char, rf"\uni{{{ord(char):04X}}}"
    )


def _greek(size: str, name: str) -> str:
    name = "lambda" if name == "LAMDA" else name.lower()
    return name if size == "SMALL" else name.capitalize()
