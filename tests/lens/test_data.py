"""A derivation as data: that JSON can hold it, and that it says what the derivation says."""

import json
import math
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.explain.written import data
from chainrule.lens.explain.written.data import as_dict


@pytest.fixture(scope="module")
def derivation():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    return cr.explain(model, x, np.array([1, 0]), loss=nn.cross_entropy, optimizer=optimizer)


@pytest.fixture(scope="module")
def found(derivation):
    return json.loads(json.dumps(as_dict(derivation), allow_nan=False))


def test_everything_is_there(derivation, found):
    assert found["schema"] == 1
    assert found["verified"] is derivation.verified is True
    assert found["verdict"] == derivation.verdict()
    assert [step["name"] for step in found["steps"]] == [step.name for step in derivation.steps]
    for step, there in zip(derivation.steps, found["steps"], strict=True):
        assert there["checks"] == [check.to_dict() for check in step.checks]
        assert there["formula"] is None or there["formula"]["latex"] == step.formula.latex()
        assert [e["text"] for e in there["elements"]] == [e.instance.text() for e in step.elements]
        np.testing.assert_array_equal(np.array(there["value"]["values"]), step.value)
        assert there["value"]["shape"] == list(step.value.shape)
    for name, array in derivation.given.items():
        np.testing.assert_array_equal(np.array(found["given"][name]["values"]), array)


def names(parts):
    for part in parts:
        yield from [part] if isinstance(part, str) else names(part["parts"])


def test_the_tree_holds_every_step_once_in_order(found):
    assert list(names(found["sections"])) == [step["name"] for step in found["steps"]]
    titles = [section["title"] for section in found["sections"]]
    assert titles[0] == "Forward pass"
    assert found["sections"][0]["parts"][0]["kind"] == "component"


def test_terms_are_elements_of_what_they_name(found):
    arrays = {name: array["values"] for name, array in found["given"].items()}
    arrays |= {step["name"]: step["value"]["values"] for step in found["steps"]}
    looked_up = 0
    for step in found["steps"]:
        for element in step["elements"]:
            for term in element["terms"]:
                if term.get("name") in arrays:
                    value = arrays[term["name"]]
                    for i in term["index"]:
                        value = value[i]
                    assert abs(value) == abs(term["value"]), (step["name"], term)
                    looked_up += 1
    assert looked_up > 50


def test_every_key_is_documented(found):
    documented = set(re.findall(r"\w+", data.__doc__))
    keys = {*found, *found["sections"][0], *found["steps"][0], *found["given"]["x"]}
    keys |= set(found["steps"][0]["elements"][0]) | set(found["steps"][0]["checks"][0])
    assert keys <= documented


def test_what_is_not_finite_is_a_string():
    with np.errstate(all="ignore"):
        found = as_dict(cr.explain(cr.log, np.array([0.0, -1.0, 1.0])))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["steps"][0]["value"]["values"] == ["-inf", "nan", 0.0]
    assert float(found["steps"][0]["value"]["values"][0]) == -math.inf


def test_complex_numbers_and_booleans():
    found = as_dict(cr.explain(cr.exp, np.array([1j, 0j])))
    assert found["steps"][0]["value"]["values"][1] == {"real": 1.0, "imag": 0.0}
    found = as_dict(cr.explain(lambda x: x > 0, np.array([1.0, -1.0])))
    assert found["steps"][-1]["value"]["values"] == [True, False]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("shape", [(4096,), (4097,), (100, 100), (3, 50, 50)])
def test_large_arrays_are_a_corner(shape):
    value = np.random.default_rng(0).normal(size=shape)
    found = data.array(value)
    if value.size <= 4096:
        np.testing.assert_array_equal(found["values"], value)
    else:
        assert "values" not in found
        matrix = value if value.ndim < 3 else value[0]
        np.testing.assert_array_equal(found["corner"], matrix[(slice(6),) * matrix.ndim])
    assert found["norm"] == pytest.approx(math.sqrt(float((value**2).sum())))
    assert (found["min"], found["max"]) == (value.min(), value.max())
