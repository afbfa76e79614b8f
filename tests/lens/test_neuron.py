"""One neuron: its sum, its patch and its neighbours, against NumPy and SciPy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.spatial.distance import cosine

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.explanation import Explanation
from chainrule.lens.explain.record import record
from chainrule.ops.notation.tree import Datum

rng = np.random.default_rng(0)


def asked(model, x):
    recorded = record(model, x)
    return Explanation("", (), recorded.given, recorded=recorded)


def failing(derivation):
    return [(step.name, str(step.check)) for step in derivation.failed]


def dense(dtype="float32"):
    cr.seed(0)
    model = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    return model, rng.normal(size=(5, 12)).astype(dtype)


# Dense layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_dense_neuron_is_a_ranked_sum(dtype):
    model, x = dense(dtype)
    derivation = asked(model, x).neuron("0", 3, 2)
    assert derivation.verified, failing(derivation)
    w, b = model[0].weight.numpy().astype(float)[3], float(model[0].bias.numpy()[3])
    products = w * x[2].astype(float)
    assert derivation["z1[2, 3]"].value == pytest.approx(products.sum() + b, rel=1e-5)
    step = derivation["contribution"]
    assert step.value == pytest.approx(products, rel=1e-12)
    ranked = [element.index[0] for element in step.elements]
    assert ranked == list(np.argsort(-np.abs(products))[:5])
    assert step.named.plain() == "contribution[j] = 0.weight[3, j] · x[2, j]"
    parts = derivation["z1[2, 3] in parts"]
    raising, lowering, bias = (datum.value for datum in parts.elements[0].instance.data)
    assert raising == pytest.approx(products[products > 0].sum())
    assert lowering == pytest.approx(products[products < 0].sum())
    assert bias == pytest.approx(b)
    up, down = (products > 0).sum(), (products < 0).sum()
    assert f"{up} of the inputs raise it, {down} lower it, 0 add nothing" in parts.notes[0]
    assert derivation["a1[2, 3]"].value == pytest.approx(np.tanh(products.sum() + b), rel=1e-5)


def test_names_of_the_inputs():
    model, x = dense()
    names = [f"column {i}" for i in range(12)]
    derivation = asked(model, x).neuron("0", 0, inputs=names)
    step = derivation["contribution"]
    first = step.elements[0].index[0]
    assert step.notes[0] == f"number {first} is 'column {first}'"
    with pytest.raises(
        cr.DataError, match="2 names were given for the inputs of '0', which has 12"
    ):
        asked(model, x).neuron("0", 0, inputs=["a", "b"])


def test_a_layer_without_bias_and_a_whole_network_that_is_one_layer():
    cr.seed(1)
    model = nn.Linear(3, 2, bias=False)
    derivation = asked(model, np.ones((1, 3), np.float32)).neuron("", 1)
    assert derivation.verified, failing(derivation)
    assert derivation.steps[0].value == pytest.approx(model.weight.numpy()[1].sum(), rel=1e-6)
    single = asked(model, np.ones(3, np.float32)).neuron("Linear", 1)
    assert single.steps[0].name == "z1[1]"
    assert single["contribution"].value == pytest.approx(model.weight.numpy()[1])


def test_the_same_feature_for_every_example_and_position():
    """An input with several axes in front: the unit is (position, unit)."""
    cr.seed(2)
    model = nn.Linear(3, 2)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    derivation = asked(model, x).neuron("", (3, 1), 1)
    assert derivation.verified, failing(derivation)
    assert derivation["contribution"].value == pytest.approx(
        model.weight.numpy()[1].astype(float) * x[1, 3]
    )
    assert derivation["contribution"].named.plain().endswith("· x[1, 3, j]")


def test_many_inputs():
    """A sum of thousands of terms is taken apart without recursion."""
    cr.seed(3)
    model = nn.Linear(5000, 1)
    x = rng.normal(size=(1, 5000)).astype(np.float32)
    derivation = asked(model, x).neuron("", 0)
    assert derivation.verified, failing(derivation)
    assert derivation["contribution"].value.shape == (5000,)


# Convolutions


@pytest.mark.parametrize(("settings", "unit"), [
    ({}, (1, 2, 3)),
    ({"padding": 1}, (0, 0, 0)),
    ({"stride": 2, "padding": 1}, (2, 1, 2)),
    ({"dilation": 2}, (3, 1, 1)),
    ({"groups": 2, "bias": False}, (2, 0, 1)),
])  # fmt: skip
def test_a_convolution_is_a_patch_times_a_filter(settings, unit):
    cr.seed(4)
    layer = nn.Conv2d(2, 4, 3, **settings)
    x = rng.normal(size=(2, 2, 7, 8)).astype(np.float32)
    derivation = asked(nn.Sequential(layer, nn.ReLU()), x).neuron("0", unit, 1)
    assert derivation.verified, failing(derivation)
    # The patch, by slicing a padded image.
    pad, step, apart, groups = (
        settings.get(k, d) for k, d in (("padding", 0), ("stride", 1), ("dilation", 1),
                                        ("groups", 1))
    )  # fmt: skip
    padded = np.pad(x[1].astype(float), ((0, 0), (pad, pad), (pad, pad)))
    f, i, j = unit
    channels = slice(f // (4 // groups) * (2 // groups), (f // (4 // groups) + 1) * (2 // groups))
    rows, columns = (slice(k * step, k * step + 2 * apart + 1, apart) for k in (i, j))
    patch = padded[channels, rows, columns]
    w = layer.weight.numpy().astype(float)[f]
    found = derivation["contribution"].value
    if groups == 2:  # one channel, whose axis is left out
        found = found.reshape(patch.shape)
    assert found == pytest.approx(patch * w)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[f])
    assert derivation.steps[0].value == pytest.approx((patch * w).sum() + bias, rel=1e-4, abs=1e-6)
    channel = int(np.argmax(np.abs((patch * w).sum(axis=(1, 2)))))
    assert derivation["patch"].value == pytest.approx(patch[channel])
    assert derivation["filter"].value == pytest.approx(w[channel])
    assert derivation["product"].value == pytest.approx((patch * w)[channel])
    if len(patch) > 1:
        assert derivation["channel"].value == pytest.approx((patch * w).sum(axis=(1, 2)))


def test_a_convolution_against_scipy():
    cr.seed(5)
    layer = nn.Conv2d(1, 1, 3, bias=False).to("float64")
    x = rng.normal(size=(1, 1, 6, 6))
    expected = correlate2d(x[0, 0], layer.weight.numpy()[0, 0], mode="valid")
    explanation = asked(layer, x)
    for i in range(4):
        value = explanation.neuron("", (0, i, 3 - i)).steps[0].value
        assert value == pytest.approx(expected[i, 3 - i])


# Embeddings


@pytest.mark.parametrize("row", [0, 1])
def test_an_embedding_is_a_row_with_neighbours(row):
    cr.seed(6)
    model = nn.Sequential(nn.Embedding(20, 5), nn.Linear(5, 2))
    ids = np.array([[3, 7, 1], [0, 19, 3]])
    words = [f"word{i}" for i in range(20)]
    derivation = asked(model, ids).neuron("0", 1, row, inputs=words)
    assert derivation.verified, failing(derivation)
    table, found = model[0].weight.numpy().astype(float), ids[row, 1]
    looked_up, near = derivation.steps
    assert looked_up.value == pytest.approx(table[found])
    assert looked_up.notes == (f"x has the index {found} here, 'word{found}'",)
    cosines = [1 - cosine(table[i], table[found]) for i in range(20)]
    assert near.value == pytest.approx(np.array(cosines))
    order = [i for i in np.argsort(-np.array(cosines)) if i != found][:5]
    assert [element.index for element in near.elements] == [(i,) for i in order]
    assert near.notes[0] == f"row {order[0]} is 'word{order[0]}'"


def test_embeddings_of_single_ids_and_rows_of_zeros():
    cr.seed(7)
    model = nn.Embedding(4, 3, padding_idx=0)
    derivation = asked(model, np.array([2, 0, 1])).neuron("", 0, 2)
    assert derivation.verified, failing(derivation)
    assert derivation["cosine"].value[0] == 0
    assert (derivation.steps[0].value == model.weight.numpy()[1]).all()
    zeros = asked(model, np.array([2, 0, 1])).neuron("", 0, 1)
    assert len(zeros.steps) == 1  # a row of zeros has no direction
    sequence = asked(model, np.array([2, 0, 1])).neuron("", 2)
    assert (sequence.steps[0].value == model.weight.numpy()[1]).all()


# Other layers


def test_recurrent_and_attention_layers():
    cr.seed(8)

    class Net(nn.Module):
        def __init__(self):
            self.recurrent = nn.LSTM(3, 4, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.LayerNorm(4)

        def forward(self, x):
            h = self.recurrent(x)[0]
            return self.norm(self.attention(h, h, h)[0])

    model, x = Net(), rng.normal(size=(2, 5, 3)).astype(np.float32)
    explanation = asked(model, x)
    for module, unit, row in (("recurrent", (1, 1), 2), ("attention", (2, 1), 1)):
        derivation = explanation.neuron(module, unit, row)
        assert derivation.verified, failing(derivation)
        assert derivation["contribution"].value.shape in [(3,), (4,)]
    normalised = explanation.neuron("norm", (2, 1), 1)
    assert normalised.verified, failing(normalised)
    assert len(normalised.steps) == 1
    w = model.recurrent.weight_ih_l0.numpy().astype(float)
    found = explanation.neuron("recurrent", (1, 1), 2)["contribution"].value
    assert found == pytest.approx(w[1] * x[1, 2])


def test_a_quantity_by_its_name():
    model, x = dense()
    explanation = asked(model, x)
    assert explanation.neuron("z2", 1, 4).steps[0].name == "z2[4, 1]"
    assert explanation.neuron("a1", -1, -1).steps[0].name == "a1[4, 3]"
    derivation = asked(lambda x: cr.matmul(x, x.T), x).neuron("z1", 2, 1)
    assert derivation.verified, failing(derivation)


def test_a_row_with_nan_is_explained_as_far_as_it_goes():
    model, x = dense()
    x[1, 4] = np.nan
    explanation = asked(model, x)
    broken = explanation.neuron("0", 3, 1)
    assert broken.verified, failing(broken)
    assert np.isnan(broken["contribution"].value[4])
    assert broken["contribution"].elements[0].index == (4,)
    assert explanation.neuron("0", 3, 2).verified


# What is altered is seen; what is asked for wrongly


def test_every_altered_number_is_seen():
    model, x = dense()
    cr.seed(9)
    pictures = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    for derivation in (
        asked(model, x).neuron("0", 3, 2),
        asked(nn.Conv2d(2, 2, 3, padding=1), pictures).neuron("", (1, 0, 0)),
        asked(nn.Embedding(9, 3), np.array([[1, 4]])).neuron("", 1),
    ):
        count = 0
        for step in derivation.steps:
            wrong = [replace(step, value=step.value * 1.001 + 1e-5)]
            for at, element in enumerate(step.elements):
                for datum in {d for d in element.instance.data if isinstance(d, Datum)}:
                    other = replace(datum, value=datum.value * 1.001 + 1e-5)
                    written = swapped(element.instance.written, datum, other)
                    changed = replace(element, instance=replace(element.instance, written=written))
                    others = (*step.elements[:at], changed, *step.elements[at + 1 :])
                    wrong.append(replace(step, elements=others))
            if step.claims and step.notes and "index" in step.notes[0]:
                wrong.append(replace(step, notes=("x has the index 5 here",)))
            for other in wrong:
                count += 1
                assert not other.verified, (other.title, other.numbers)
        assert count > 5


def swapped(part, old, new):
    if part == old:
        return new
    if hasattr(part, "left"):
        return replace(part, left=swapped(part.left, old, new), right=swapped(part.right, old, new))
    if hasattr(part, "arguments"):
        return replace(part, arguments=tuple(swapped(a, old, new) for a in part.arguments))
    return part


@pytest.mark.parametrize(("arguments", "kind", "words"), [
    (("0", 4), IndexError, r"no index 4 in axis 1: z1 has the shape \(5, 4\), and there are 0 … 3"),
    (("0", 0, 5), IndexError, r"no example 5: z1 has the shape \(5, 4\), and there are 0 … 4"),
    (("0", (0, 1, 2)), IndexError, r"has the shape \(5, 4\): a unit of an example is one number"),
    (("0", "first"), TypeError, "a unit is a whole number"),
    (("0", 1.5), TypeError, "a unit is a whole number"),
    (("0", 1, "x"), TypeError, "whole number"),
    (("hidden", 1), ValueError, r"ran in a module 'hidden'. Layers .* are '0', '2'; .* z1, a1, z2"),
    ((3, 1), TypeError, "a layer is named by text"),
])  # fmt: skip
def test_what_there_is_not(arguments, kind, words):
    explanation = asked(*dense())
    with pytest.raises(kind, match=words) as caught:
        explanation.neuron(*arguments)
    assert isinstance(caught.value, cr.ChainruleError)


def test_places_of_embeddings_and_convolutions_that_there_are_not():
    explanation = asked(nn.Embedding(4, 3), np.array([[1, 2]]))
    with pytest.raises(cr.ChainruleError, match=r"no index 2 in axis 1: x has the shape \(1, 2\)"):
        explanation.neuron("", 2)
    with pytest.raises(
        cr.DataError, match="3 names were given for the rows of weight, which has 4"
    ):
        explanation.neuron("", 1, inputs=list("abc"))
    with pytest.raises(cr.DTypeError, match="inputs are names"):
        explanation.neuron("", 1, inputs=4)
    with pytest.raises(cr.ChainruleError, match=r"\(channel, row, column\), and 3 was given"):
        asked(nn.Conv2d(1, 1, 2), np.ones((1, 1, 3, 3), np.float32)).neuron("", 3)
