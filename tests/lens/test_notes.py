"""What is said of steps: the numbers in the sentences, against NumPy, and wrong ones are seen."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(6, 5)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 4, 7, 6)).astype(np.float32)
SEQUENCE = RNG.normal(size=(2, 3, 5)).astype(np.float32)


def step(model, x, operation, **options):
    """The last step of an operation that has something to say."""
    found = cr.explain(model, x, **options)
    assert found.verified, found.failed
    return [s for s in found.steps if s.operation == operation][-1]


def numbers(note):
    """The numbers of a sentence that stand outside of words."""
    found = re.findall(r"(?<![\w.])−?\d[\d.,]*(?:e[+−]?\d+)?", note)
    return [float(n.replace("−", "-").rstrip(".,").replace(",", "")) for n in found]


def telling(value):
    return np.unravel_index(int(np.argmax(np.abs(value))), value.shape)


def test_layer_norm():
    cr.seed(0)
    found = step(nn.LayerNorm(5), ROWS * 3 + 1, "layer_norm")
    row = telling(found.value)[0]
    before, after = (ROWS * 3 + 1)[row].astype(float), found.value[row].astype(float)
    count, *moments = numbers(found.notes[0])
    assert count == 5
    assert moments[:2] == pytest.approx([before.mean(), before.var()], rel=1e-3)
    assert moments[2:] == pytest.approx([after.mean(), after.var()], rel=1e-3)
    assert moments[3] == pytest.approx(1, abs=1e-3)


def test_batch_norm_in_both_modes():
    cr.seed(0)
    layer = nn.BatchNorm2d(4)
    trained = step(layer, IMAGES, "batch_norm", training=True)
    channel = telling(trained.value)[1]
    before = IMAGES[:, channel].astype(float)
    assert numbers(trained.notes[0])[:3] == pytest.approx(
        [before.size, before.mean(), before.var()], rel=1e-3
    )
    used = step(layer, IMAGES, "batch_norm")
    channel = telling(used.value)[1]
    after = used.value[:, channel].astype(float)
    assert numbers(used.notes[0])[3:5] == pytest.approx([after.mean(), after.var()], rel=1e-3)


def test_group_and_instance_and_rms_norm():
    cr.seed(0)
    for layer, operation, size in (
        (nn.GroupNorm(2, 4), "group_norm", 84),
        (nn.InstanceNorm2d(4), "instance_norm", 42),
        (nn.RMSNorm(6), "rms_norm", 6),
    ):
        assert numbers(step(layer, IMAGES, operation).notes[0])[0] == size


def test_dropout_says_what_was_dropped():
    cr.seed(0)
    found = step(nn.Dropout(0.25), np.ones((8, 5), np.float32), "drop", training=True)
    dropped, size, p, *_, scale = numbers(found.notes[0])
    assert dropped == (found.value == 0).sum()
    assert (size, p) == (40, 0.25)
    assert scale == pytest.approx(found.value.max(), rel=1e-3)
    still = cr.explain(nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5)), ROWS)
    assert [s.operation for s in still.steps] == ["linear"]  # in evaluation it does nothing


def test_residual_connections_but_not_other_sums():
    cr.seed(0)
    inner = nn.Linear(5, 5)

    def block(x):
        h = cr.tanh(x)
        return h + inner(h)

    found = step(block, ROWS, "add")
    h = np.tanh(ROWS.astype(float))
    branch = h @ inner.weight.numpy().T.astype(float) + inner.bias.numpy()
    norms = [np.linalg.norm(v) for v in (h, branch, h + branch)]
    assert numbers(found.notes[0]) == pytest.approx(norms, rel=1e-3)
    beside = step(lambda x: cr.tanh(x) + cr.sin(x), ROWS, "add")
    assert not beside.notes


def test_dead_units():
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    x[:, 2] = -abs(x[:, 2]) - 0.1
    found = step(cr.relu, x, "relu")
    dead = (x <= 0).all(axis=0).sum()
    text = f"{(x <= 0).sum()} of 24 elements are 0, and {dead} of 4 units are 0 for everything"
    assert found.notes[0].startswith(text)


def test_inputs_below_zero():
    found = step(nn.GELU(), ROWS, "gelu")
    assert numbers(found.notes[0])[:2] == [(ROWS < 0).sum(), 30]


@pytest.mark.parametrize("options", [{}, {"stride": 1, "padding": 1}, {"dilation": 2, "stride": 1}])
def test_the_pixel_that_won(options):
    found = step(nn.MaxPool2d(3, **options), IMAGES, "max_pool2d")
    at = telling(found.value)
    *_, row, column, value, count = numbers(found.notes[0].replace("[", " ").replace("]", " "))
    assert IMAGES[at[0], at[1], int(row), int(column)] == found.value[at]
    assert value == pytest.approx(found.value[at], rel=1e-3)
    assert count <= 9


def test_sequences_and_volumes_are_pooled_too():
    assert step(nn.MaxPool1d(2), IMAGES[0], "max_pool1d").notes
    assert step(nn.MaxPool3d(2), IMAGES[None], "max_pool3d").notes


def test_rows_that_were_looked_up():
    cr.seed(0)
    found = step(nn.Embedding(9, 3), np.array([[4, 1], [1, 4]]), "embedding")
    assert numbers(found.notes[0]) == [4, 9, 2]


def test_the_gates_of_an_lstm():
    cr.seed(0)
    layer = nn.LSTMCell(5, 3)
    found = step(lambda x: layer(x)[0], ROWS, "lstm_update")
    row, unit = (int(i) for i in telling(found.value))
    unit %= 3
    raw = ROWS[row].astype(float) @ layer.weight_ih.numpy().T + layer.bias_ih.numpy()
    raw = (raw + layer.bias_hh.numpy()).reshape(4, 3)[:, unit]
    i, f, o = special.expit(raw[[0, 1, 3]])
    g = np.tanh(raw[2])
    c = i * g
    h = o * np.tanh(c)
    assert numbers(found.notes[0]) == pytest.approx(
        [unit, i, f, g, o, f, 0, i, g, c, o, c, h], rel=2e-3
    )


def test_the_gates_of_a_gru():
    cr.seed(0)
    layer = nn.GRUCell(5, 3)
    state = RNG.normal(size=(6, 3)).astype(np.float32)
    found = step(lambda x: layer(x, cr.asarray(state)), ROWS, "gru_update")
    row, unit = (int(i) for i in telling(found.value))
    x = (ROWS[row].astype(float) @ layer.weight_ih.numpy().T + layer.bias_ih.numpy()).reshape(3, 3)
    h = (state[row].astype(float) @ layer.weight_hh.numpy().T + layer.bias_hh.numpy()).reshape(3, 3)
    r, z = special.expit(x[:2, unit] + h[:2, unit])
    n = np.tanh(x[2, unit] + r * h[2, unit])
    before = state[row, unit]
    assert numbers(found.notes[0]) == pytest.approx(
        [unit, r, z, n, n, z, before, n, (1 - z) * n + z * before], rel=2e-3
    )


def test_a_label_that_softmax_rounds_to_zero():
    logits = np.array([[2000.0, 0.0]])
    found = cr.explain(lambda x: x * 1.0, logits, np.array([1]), loss=nn.cross_entropy)
    (note,) = next(s for s in found.steps if s.operation == "softmax_cross_entropy").notes
    assert "a probability that float64 rounds to 0; its −log is 2000" in note


def residual(x):
    h = cr.tanh(x)
    return h + cr.sin(h)


CASES = [
    (nn.LayerNorm(5), ROWS, "layer_norm", {}),
    (nn.Dropout(0.5), ROWS, "drop", {"training": True}),
    (nn.ReLU(), ROWS, "relu", {}),
    (nn.GELU(), ROWS, "gelu", {}),
    (nn.MaxPool2d(2), IMAGES, "max_pool2d", {}),
    (nn.Embedding(9, 3), np.array([4, 1]), "embedding", {}),
    (residual, ROWS, "add", {}),
    (lambda x: nn.LSTMCell(5, 3)(x)[0], ROWS, "lstm_update", {}),
    (lambda x: nn.GRUCell(5, 3)(x), ROWS, "gru_update", {}),
]


@pytest.mark.parametrize(("model", "x", "operation", "options"), CASES)
def test_a_wrong_number_in_a_sentence_is_seen(model, x, operation, options):
    cr.seed(0)
    found = step(model, x, operation, **options)
    note = found.notes[0]
    places = [m.span() for m in re.finditer(r"\d(?=[\d.,; ]|$)", note)]
    assert places
    for start, end in places:
        digit = str((int(note[start]) + 1) % 10)
        other = note[:start] + digit + note[end:]
        assert not replace(found, notes=(other, *found.notes[1:])).verified
    value = np.array(found.value)
    value[telling(value)] *= 1.5
    assert not replace(found, value=value).verified
