"""The LaTeX document: that it is well formed, says what the derivation says, and compiles."""

import re
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.explain.written.latex import ascii_only, display, document, lines_of, words


@cache
def networks():
    cr.seed(0)
    rng = np.random.default_rng(0)
    dense = nn.Sequential(nn.Linear(12, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 3))
    images = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    x = rng.normal(size=(2, 12)).astype(np.float32)
    image = rng.normal(size=(1, 1, 6, 6)).astype(np.float32)
    q = rng.normal(size=(3, 4))
    return {
        "dense": cr.explain(
            dense, x, np.array([1, 0]), loss=nn.cross_entropy,
            optimizer=optim.AdamW(dense.parameters()),
        ),
        "images": cr.explain(images, image, np.array([1]), loss=nn.cross_entropy),
        "attention": cr.explain(lambda q: nn.scaled_dot_product_attention(q, q, q), q),
        "names": cr.explain(
            lambda x: x * HOSTILE, np.array([3.0]), names={"50%_of #1 & $x^2$ \\~{é}中": HOSTILE}
        ),
    }  # fmt: skip


HOSTILE = cr.asarray([2.0])
NAMES = ["dense", "images", "attention", "names"]


def formulas(source):
    return [
        next(g for g in found if g)
        for found in re.findall(
            r"\\\[ (.*?) \\\]|\\begin\{align\*\}(.*?)\\end\{align\*\}", source, re.S
        )
    ]


def well_formed(tex):
    """Whether braces, \\left and \\right, and environments are closed in the order they opened."""
    stack = []
    for token in re.findall(r"\\left\b|\\right\b|\\(?:begin|end)\{\w+\*?\}|\\.|[{}]", tex):
        if token in (r"\left", "{"):
            stack.append({r"\left": r"\right", "{": "}"}[token])
        elif token.startswith(r"\begin"):
            stack.append(token.replace("begin", "end"))
        elif (token in (r"\right", "}") or token.startswith(r"\end")) and (
            not stack or stack.pop() != token
        ):
            return False
    return not stack


@pytest.mark.parametrize("name", NAMES)
def test_it_is_well_formed(name):
    source = document(networks()[name])
    assert well_formed(source)
    found = formulas(source)
    assert len(found) >= (6 if name in ("dense", "images") else 1)
    for formula in found:
        for line in formula.split("\\\\\n"):
            assert well_formed(line), line
    assert not re.search(r"[^\x00-\x7fÀ-ſ]", source)
    body = source.split("begin{document}")[1].replace(r"$\checkmark$", "")
    assert not re.search(r"(?<!\\)[#$%]", body)


@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_where_there_is_latex(name, tmp_path):
    (tmp_path / "d.tex").write_text(document(networks()[name]), encoding="utf-8")
    if shutil.which("pdflatex"):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]


def test_it_says_what_the_derivation_says():
    derivation = networks()["dense"]
    source = document(derivation)
    assert r"\section{Forward pass}" in source
    assert r"\subsection{0 (Linear)}" in source
    assert r"\sum_{j} {\mathrm{0.weight}}_{i,j} \, {x}_{\dots,j}" in source
    assert r"\checkmark" in source
    assert "does not hold" not in source
    for step in derivation.steps:
        if step.value is not None and step.value.size > 1:
            assert words(str(step.value.shape)) in source


def test_long_formulas_are_split_outside_of_brackets():
    sum_ = " + ".join(f"{i}.25 \\, x_{{{i}}}" for i in range(40))
    lines = lines_of(f"y = {sum_}")
    assert len(lines) > 3
    assert all(line.startswith("+ ") for line in lines[1:])
    assert " ".join(lines) == f"y = {sum_}"
    assert lines_of(rf"\left({sum_}\right)") == [rf"\left({sum_}\right)"]
    assert display(f"y = {sum_}").startswith("\\begin{align*}")
    assert display("y = x") == r"\[ y = x \]"


def test_text_is_escaped():
    assert words("50% of a_b & #1 {x} $ ~ ^ \\") == (
        r"50\% of a\_b \& \#1 \{x\} \$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert ascii_only("∂L/∂z ≤ m̂ a⁽¹²⁾") == (
        r"\ensuremath{\partial}L/\ensuremath{\partial}z \ensuremath{\le} \ensuremath{\hat{m}} "
        r"a\ensuremath{{}^{(12)}}"
    )
    assert r"10\mathrm{e}{-}05" in display("10e-05")


def test_numbers_are_multiplied_with_a_dot_and_moved_ones_say_from_where():
    found = cr.explain(lambda x: (x * x).reshape(4), np.array([[1.5, 2.5], [3.5, 4.5]]))
    product, moved = found.steps
    source = document(found)
    assert rf"{product.name}[1, 1] = 4.5 \cdot 4.5 = 20.25" in source
    assert rf"[3] = {product.name}[1, 1] = 20.25" in source
    page = found.html()
    assert "<mtext>[1, 1]</mtext></mrow></math> <math><mo form=infix>=</mo><mn" in page
    assert f"{moved.name}[3] = {product.name}[1, 1] = 20.25" in moved.numbers
