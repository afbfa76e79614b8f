"""Shapes: what is said of each is true; broadcasts against NumPy; what an error of shapes says."""

from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain import broadcast
from chainrule.lens.explain.explanation import Explanation
from chainrule.lens.explain.record import record
from chainrule.ops.notation.tree import Datum

rng = np.random.default_rng(0)


def asked(model, x, y=None, loss=None):
    recorded = record(model, x, y, loss=loss)
    return Explanation("", (), recorded.given, recorded=recorded)


def failing(derivation):
    return [(step.name, str(step.check)) for step in derivation.failed]


def dense():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
    return model, rng.normal(size=(32, 1024)).astype(np.float32), rng.integers(0, 10, 32)


def test_why_a_dense_layer_is_512_by_1024():
    derivation = asked(*dense(), loss=nn.cross_entropy).shapes()
    assert derivation.verified, failing(derivation)
    weight = derivation["shape of 0.weight"]
    assert weight.title == "0.weight is (512, 1024)"
    assert weight.notes == (
        "axis 0, i: 512 outputs, one for each i of z1",
        "axis 1, j: 1024 inputs, one for each j of x, over which is summed",
    )
    count = derivation["numbers in 0"]
    assert count.value == 512 * 1024 + 512
    assert count.numbers == "numbers in 0 = 512 · 1024 + 512 = 524800"
    result = derivation["shape of z1"]
    assert tuple(result.value) == (32, 512)
    assert "j takes 1024 values along axis 1 of 0.weight and axis 1 of x, which must agree" in (
        " ".join(result.notes)
    )
    assert "… is what is in front: 32, as in x" in result.notes
    gradient = derivation["shape of ∂L/∂0.weight"]
    assert tuple(gradient.value) == (512, 1024)
    assert gradient.named.plain() == "∂L/∂0.weight[i, j] = Σ_{…} δz1[…, i] · x[…, j]"
    assert gradient.matrix.plain() == "∂L/∂0.weight = δz1ᵀ x"
    assert derivation["shape of ∂L/∂0.bias"].named.plain() == "∂L/∂0.bias[i] = Σ_{…} δz1[…, i]"


def test_the_index_forms_give_the_gradients():
    """∂L/∂W_ij = Σ δ_ni x_nj, evaluated by NumPy from the recorded δ."""
    explanation = asked(*dense(), loss=nn.cross_entropy)
    recorded = explanation.recorded
    first = recorded.nodes[0]
    delta, x = recorded.gradients[first], recorded.given["x"]
    gradient = recorded.gradients[recorded.parameters["0.weight"]._node]
    np.testing.assert_allclose(np.einsum("ni,nj->ij", delta, x), gradient, rtol=1e-3, atol=1e-6)
    assert (delta.T @ x).shape == tuple(explanation.shapes()["shape of ∂L/∂0.weight"].value)


class Everything(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(6, 8)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.scale = nn.Parameter(np.ones(8, np.float32))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        h = self.layer(self.recurrent(self.table(x))[0]) * self.scale
        return self.out(cr.concat([h[:, :1], h[:, 1:]], axis=1).mean(axis=1))


def images():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AvgPool2d((2, 1)), nn.Conv2d(4, 4, 2, padding="same", groups=2), nn.Flatten(),
        nn.Linear(32, 3),
    )  # fmt: skip


@pytest.mark.parametrize(("build", "x"), [
    (Everything, np.array([[0, 1, 2], [5, 1, 0]])),
    (images, rng.normal(size=(2, 2, 8, 8)).astype(np.float32)),
])  # fmt: skip
def test_every_shape_is_that_of_its_array(build, x):
    cr.seed(1)
    explanation = asked(build(), x, np.array([0, 2]), nn.cross_entropy)
    derivation = explanation.shapes()
    assert derivation.verified, failing(derivation)
    recorded = explanation.recorded
    for name, parameter in recorded.parameters.items():
        assert tuple(derivation[f"shape of {name}"].value) == parameter.shape
    for node in recorded.nodes:
        assert tuple(derivation[f"shape of {recorded.name(node)}"].value) == node.value.shape
    total = sum(s.value for s in derivation.steps if s.name.startswith("numbers in "))
    assert total == sum(p.size for p in recorded.parameters.values())


@pytest.mark.parametrize(("size", "settings"), [
    (7, {}), (8, {"stride": 2}), (8, {"padding": 1}), (9, {"stride": 3, "padding": 2}),
    (9, {"dilation": 2}), (7, {"padding": "same"}), (11, {"dilation": 2, "stride": 2}),
])  # fmt: skip
@pytest.mark.parametrize("kernel", [2, 3])
def test_the_arithmetic_of_convolutions(size, settings, kernel):
    layer = nn.Conv1d(1, 1, kernel, **settings)
    derivation = asked(layer, np.zeros((1, 1, size), np.float32)).shapes()
    assert derivation.verified, failing(derivation)
    (step,) = (s for s in derivation.steps if s.operation == "conv1d" and s.elements
               and s.name == "shape of z1")  # fmt: skip
    element = next(e for e in step.elements if e.index == (2,))
    n, before, after, distance, k, one, again, stride, last = (
        datum.value for datum in element.instance.data
    )
    assert (n, k, one, again, last) == (size, kernel, 1, 1, 1)
    assert stride == settings.get("stride", 1)
    assert distance == settings.get("dilation", 1)
    if settings.get("padding") != "same":
        assert before == after == settings.get("padding", 0)
    else:
        assert before + after == distance * (kernel - 1)
    windows = len(range(0, n + before + after - distance * (k - 1), stride))
    assert element.instance.value == windows == layer(cr.zeros((1, 1, size))).shape[2]


def test_a_broadcast_inside_of_a_network_is_drawn():
    cr.seed(2)
    shift = nn.Parameter(np.ones((4, 1), np.float32))
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    derivation = asked(lambda x: x + shift, x).shapes()
    assert derivation.verified, failing(derivation)
    (step,) = (s for s in derivation.steps if "broadcast to" in s.title)
    assert step.title == "a: (2, 4, 3) and (4, 1) broadcast to (2, 4, 3)"
    stretched = derivation["a: axes along which constant[4, 1] is stretched"]
    assert stretched.value.tolist() == [0, 2]


# broadcast


def some_shapes(count):
    for _ in range(count):
        ndim = int(rng.integers(1, 5))
        full = rng.integers(0, 5, ndim)
        shapes = []
        for _ in range(int(rng.integers(1, 4))):
            own = np.where(rng.random(ndim) < 0.3, 1, full)
            if rng.random() < 0.3:
                own[rng.integers(ndim)] += 1
            shapes.append(tuple(int(n) for n in own[rng.integers(0, ndim) :]))
        yield shapes


def test_broadcasts_are_those_of_numpy():
    refused = 0
    for shapes in some_shapes(300):
        derivation = broadcast(*shapes)
        assert derivation.verified, failing(derivation)
        try:
            expected = np.broadcast_shapes(*shapes)
        except ValueError:
            refused += 1
            assert "do not broadcast" in derivation.steps[0].title
            continue
        assert tuple(derivation["shape of the result"].value) == expected
        for i, shape in enumerate(shapes):
            axes = tuple(derivation[f"axes along which array {i + 1} is stretched"].value)
            # Summing the result's gradient over these axes leaves the array's own size.
            gradient = np.ones(expected).sum(axis=axes)
            kept = [n for n in np.ones(shape).squeeze().shape]
            assert [n for n in gradient.shape if n != 1] == kept
    assert 20 < refused < 180


def test_the_gradient_of_a_broadcast_is_summed():
    """The axes that are named are those over which chainrule's own gradient is summed."""
    a, b = rng.normal(size=(8, 1, 6, 1)), rng.normal(size=(7, 1, 5))
    derivation = broadcast(a, b)
    weight = rng.normal(size=(8, 7, 6, 5))
    gradients = cr.grad(lambda a, b: ((a + b) * weight).sum(), argnums=(0, 1))(
        cr.asarray(a), cr.asarray(b)
    )
    for name, array, gradient in zip(("array 1", "array 2"), (a, b), gradients, strict=True):
        axes = tuple(derivation[f"axes along which {name} is stretched"].value)
        by_hand = weight.sum(axis=axes, keepdims=True).reshape(array.shape)
        assert gradient.numpy() == pytest.approx(by_hand)


def test_shapes_that_do_not_fit():
    (step,) = broadcast((32, 10), (32,)).steps
    assert step.title == "(32, 10) and (32,) do not broadcast: 10 against 32 in axis −1"
    assert step.notes[:2] == ("array 1   32 × 10", "array 2    · × 32")
    assert step.notes[-1].endswith("belong to axis 0 of array 1, write array_2[:, None]")
    (step,) = broadcast((2, 3), (3, 2)).steps
    assert "transpose" in step.notes[-1]
    (step,) = broadcast((4, 5, 6), (4,)).steps
    assert step.notes[-1].endswith("array_2[:, None, None]")
    np.broadcast_shapes((4, 5, 6), np.ones(4)[:, None, None].shape)


@pytest.mark.parametrize(("shapes", "kind", "words"), [
    ((), TypeError, "got none"), (("ab",), TypeError, "whole numbers"),
    (((2, -1),), ValueError, "negative"), (((1.5,),), TypeError, "whole numbers"),
    ((None,), TypeError, "whole numbers"),
])  # fmt: skip
def test_what_is_no_shape(shapes, kind, words):
    with pytest.raises(kind, match=words) as caught:
        broadcast(*shapes)
    assert isinstance(caught.value, cr.ChainruleError)


def test_single_numbers_and_nothing_at_all():
    assert broadcast(3, (2, 1))["shape of the result"].value.tolist() == [2, 3]
    assert broadcast((), ())["shape of the result"].value.tolist() == []
    assert broadcast((5,)).verified


# What is altered is seen


def test_every_altered_size_is_seen():
    derivations = [
        asked(*dense(), loss=nn.cross_entropy).shapes(),
        asked(images(), np.zeros((2, 2, 8, 8), np.float32), np.array([0, 1]),
              nn.cross_entropy).shapes(),
        broadcast((8, 1, 6, 1), (7, 1, 5)),
    ]  # fmt: skip
    count = 0
    for step in (step for derivation in derivations for step in derivation.steps):
        wrong = [replace(step, notes=tuple(n.replace(old, new) for n in step.notes))
                 for old, new in (("512", "511"), ("1024", "1023"), ("× 7", "× 8"), ("2", "3"))
                 if any(old in n for n in step.notes)]  # fmt: skip
        if step.value is not None and step.value.size:
            wrong.append(replace(step, value=step.value + 1))
        if "is (" in step.title:
            wrong.append(replace(step, title=step.title.replace("is (", "is (9", 1)))
        for at, element in enumerate(step.elements):
            for datum in {d for d in element.instance.data if isinstance(d, Datum)}:
                other = replace(datum, value=datum.value + 7)
                written = swapped(element.instance.written, datum, other)
                changed = replace(element, instance=replace(element.instance, written=written))
                others = (*step.elements[:at], changed, *step.elements[at + 1 :])
                wrong.append(replace(step, elements=others))
        for other in wrong:
            count += 1
            assert not other.verified, (other.title, other.numbers, other.notes)
    assert count > 150


def swapped(part, old, new):
    if part == old:
        return new
    if hasattr(part, "left"):
        return replace(part, left=swapped(part.left, old, new), right=swapped(part.right, old, new))
    if hasattr(part, "arguments"):
        return replace(part, arguments=tuple(swapped(a, old, new) for a in part.arguments))
    return part


# An error of shapes


def test_a_network_whose_shapes_do_not_fit_says_so():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(6, 2))
    with pytest.raises(cr.ShapeError, match=r"in `1` .*the input's last size is 8|takes 6"):
        cr.explain(model, np.ones((1, 4), np.float32))
