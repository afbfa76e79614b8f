"""A derivation as text: what is seen from each height, that its numbers are the network's, and how
it fits into a terminal."""

import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.explain.derivation import HEIGHTS, Derivation, Section
from chainrule.lens.explain.written.terminal import array, rich, text


@pytest.fixture(scope="module")
def derivation():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return cr.explain(model, x, np.array([1, 0]), loss=nn.cross_entropy, optimizer=optimizer)


@pytest.fixture(scope="module")
def failing(derivation):
    step = derivation["a1"]
    wrong = replace(step, value=step.value + np.float32(0.1))
    return Derivation("wrong", (Section("Forward pass", (derivation["z1"], wrong)),))


def console(**options):
    return Console(markup=False, highlight=False, **options)


def test_the_black_box_says_what_goes_in_and_what_comes_out(derivation):
    loss = derivation["L"].value.item()
    lines = text(derivation, "black box").splitlines()
    assert "x (2, 3) → Sequential → z2 (2, 2)" in lines
    assert f"cross_entropy(z2, y (2,)) → L = {loss:.6g}" in lines
    assert "all agree" in lines[-1]
    assert not any("linear" in line for line in lines)


def test_each_height_shows_what_those_above_it_show_and_more(derivation):
    seen = [text(derivation, height).splitlines() for height in HEIGHTS]
    for above, below in pairwise(seen):
        assert set(above) < set(below)
    labels = [set(re.findall(r"^ +(\w+)  ", "\n".join(lines), re.M)) for lines in seen]
    assert "shapes" in labels[2]
    assert "formula" not in labels[2]
    assert {"rule", "formula", "here", "matrix"} <= labels[3]
    assert "numbers" not in labels[3]
    assert {"numbers", "value", "check"} <= labels[4]
    assert "code" not in labels[4]
    assert "code" in labels[5]


def test_components_are_the_modules(derivation):
    lines = [line.split() for line in text(derivation, "components").splitlines()]
    assert ["0", "(Linear)", "x", "→", "z1", "(2,", "4)"] in lines
    assert ["1", "(Tanh)", "z1", "→", "a1", "(2,", "4)"] in lines


def test_shapes_of_operands_and_results(derivation):
    out = text(derivation, "shapes")
    assert "x (2, 3), 0.weight (4, 3), 0.bias (4,) → z1 (2, 4)" in out
    assert "a2 (2,) → L\n" in out


def test_code_is_the_line_and_the_declaration(derivation):
    out = text(derivation, "code")
    assert "cr.explain(model, x" in out
    assert "test_terminal.py:" in out
    assert "linear is declared in chainrule.ops.linear_algebra" in out


def test_there_is_no_other_height(derivation):
    with pytest.raises(cr.DataError, match="black box, components, shapes, symbols, numbers, code"):
        text(derivation, "sky")


def numbers(line):
    return [float(v) for v in re.findall(r"-?\d[\d.e+-]*|nan|inf", line.replace("−", "-"))]


@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (5, 7), (20, 30), (2, 3, 3)])
def test_a_matrix_is_shape_norm_range_and_corner(shape):
    value = np.random.default_rng(0).normal(size=shape)
    about, *rows = array(value)
    assert about.startswith(str(shape))
    norm, low, high = numbers(about.split("norm")[1].split(";")[0])
    assert norm == pytest.approx(np.sqrt((value**2).sum()), rel=1e-3)
    assert (low, high) == pytest.approx((value.min(), value.max()), rel=1e-3)
    matrix = value.reshape(-1, *shape[-2:])[0]
    shown = [numbers(row) for row in rows if "⋮" not in row]
    indices = [i for i, row in enumerate(rows) if "⋮" not in row]
    for i, row in zip(indices, shown, strict=True):
        at = -1 if i == len(rows) - 1 else i
        gap = "⋯" in rows[i]
        expected = [*matrix[at, : len(row) - 1], matrix[at, -1]] if gap else matrix[at]
        assert row == pytest.approx(expected, rel=1e-3)
    assert len({cell_len(row) for row in rows}) == 1
    assert ("⋱" in "".join(rows)) == (shape == (20, 30))


def test_vectors_numbers_and_what_is_not_finite():
    assert array(np.array(0.1234567)) == ["0.123457"]
    assert array(np.array([1.0, -2.0])) == ["[1, −2], norm 2.236"]
    assert array(np.arange(100.0))[0].startswith("[0, 1, 2, 3, 4, 5, 6, 7, … 92 more], norm")
    assert array(np.zeros((0, 3))) == ["(0, 3), empty"]
    assert "nan" in array(np.array([[np.nan, np.inf]]))[1]
    assert array(np.array([True, False])) == ["[True, False]"]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("height", HEIGHTS)
def test_it_fits_into_a_terminal(derivation, width, height):
    screen = console(force_terminal=True, width=width, record=True, file=io.StringIO())
    screen.print(rich(derivation, height))
    lines = screen.export_text().splitlines()
    assert max(map(cell_len, lines)) <= width
    # Nothing is lost: without the spaces it is the plain text.
    assert "".join("".join(lines).split()) == "".join(text(derivation, height).split())


def test_piped_it_is_plain_and_not_wrapped(derivation, tmp_path):
    with (tmp_path / "out.txt").open("w") as file:
        console(file=file).print(rich(derivation, "numbers"), soft_wrap=True)
    out = (tmp_path / "out.txt").read_text()
    assert "\x1b" not in out
    assert out.splitlines() == text(derivation).splitlines()


def test_what_does_not_hold_is_red(failing, tmp_path):
    with (tmp_path / "out.txt").open("w") as file:
        console(file=file, force_terminal=True, color_system="standard", width=200).print(
            rich(failing, "numbers")
        )
    red = [line for line in (tmp_path / "out.txt").read_text().splitlines() if "\x1b[1;31m" in line]
    assert any("does not hold" in line for line in red)
    assert any("a1 = tanh(z1)" in line for line in red)
    assert any("these do not agree: a1" in line for line in red)
    assert not any("z1 = linear" in line for line in red)
    assert "✗ does not hold: formula in float64" in text(failing)


def test_a_step_prints_itself(derivation):
    out = str(derivation["z1"])
    assert out.splitlines()[0].startswith("z1 = linear(x, 0.weight, 0.bias)")
    assert "✓" in out


def test_brackets_of_the_users_are_no_markup():
    w = cr.asarray([2.0])
    found = cr.explain(lambda x: x * w, np.array([3.0]), names={"[red]w[/red]": w})
    screen = console(file=io.StringIO(), record=True, width=200)
    screen.print(rich(found))
    assert "[red]w[/red]" in screen.export_text()
