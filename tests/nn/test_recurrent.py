"""Recurrent networks: against loops of their own cells, compiled, with lengths; what is refused."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

KINDS = ["RNN", "GRU", "LSTM"]
rnn = nn.utils.rnn


def seeded(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def h_of(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_its_cell_step_by_step(kind):
    network = getattr(nn, kind)(3, 4).to(cr.float64)
    cell = getattr(nn, f"{kind}Cell")(3, 4).to(cr.float64)
    cell.load_state_dict({n.removesuffix("_l0"): v for n, v in network.state_dict().items()})
    x = cr.asarray(seeded(5, 2, 3))
    y, last = network(x)
    state = None
    for t in range(5):
        state = cell(x[t], state)
        np.testing.assert_allclose(y[t], h_of(state), rtol=1e-12)
    np.testing.assert_allclose(h_of(last)[0], h_of(state), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_against_differences(kind):
    network = getattr(nn, kind)(2, 3, bidirectional=True).to(cr.float64)
    parameters = {n: cr.asarray(v) for n, v in network.state_dict().items()}

    def loss(x, parameters):
        y, last = nn.functional_call(network, parameters, (cr.asarray(x),))
        return (y * y).sum() + h_of(last).sum()

    x = seeded(4, 2, 2)
    cr.check_gradients(lambda x: loss(x, parameters), x)
    name = "weight_hh_l0_reverse"
    cr.check_gradients(lambda w: loss(x, {**parameters, name: w}), parameters[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_compiles_and_agrees_with_eager(kind, dtype):
    def trained(compiled):
        cr.seed(0)
        layers = getattr(nn, kind)(3, 8, num_layers=2, batch_first=True, bidirectional=True)
        model = nn.ModuleList([layers, nn.Linear(16, 2)]).to(dtype)
        opt = optim.Adam(model.parameters(), lr=0.05)

        def step(x, y, lengths):
            states, _ = model[0](x, lengths=lengths)
            loss = nn.mse_loss(model[1](states[:, -1]), y)
            loss.backward()
            opt.step()
            return loss

        step = cr.compile(step) if compiled else step
        losses = []
        for i in range(4):
            x, y = seeded(6, 7, 3, seed=i).astype(dtype), seeded(6, 2, seed=i + 9).astype(dtype)
            lengths = np.random.default_rng(i).integers(1, 8, 6)
            losses.append(step(*map(cr.asarray, (x, y, lengths))).item())
        if compiled:
            assert step.traces == 1  # lengths are values, not shapes
        return losses, model.state_dict()

    (mine, state), (wanted, other) = trained(True), trained(False)
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(mine, wanted, rtol=tolerance)
    for name, value in state.items():
        np.testing.assert_allclose(value, other[name], rtol=100 * tolerance, atol=tolerance)


def test_dropout_between_layers_in_training_alone():
    cr.seed(0)
    network, x = nn.GRU(3, 4, 2, dropout=0.5), cr.asarray(seeded(5, 2, 3))
    assert not np.array_equal(network(x)[0], network(x)[0])
    network.eval()
    assert np.array_equal(network(x)[0], network(x)[0])
    single = nn.GRU(3, 4, 1, dropout=0.5)
    assert np.array_equal(single(x)[0], single(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    network = getattr(nn, kind)(2, 3, 2, bidirectional=True)
    x, lengths = seeded(6, 3, 2), np.array([2, 6, 0])
    other = x.copy()
    for i, n in enumerate(lengths):
        other[n:, i] = 1e30
    (a, last), (b, end) = network(x, lengths=lengths), network(other, lengths=lengths)
    assert np.array_equal(a, b)
    assert np.array_equal(h_of(last), h_of(end))
    assert not a[2:, 0].numpy().any()
    assert not h_of(last)[:, 2].numpy().any()  # of no steps: the first state


def test_sequences_of_no_steps_and_empty_batches():
    y, h = nn.RNN(2, 3)(cr.ones((0, 4, 2)))
    assert y.shape == (0, 4, 3)
    assert not h.numpy().any()
    y, (h, c) = nn.LSTM(2, 3, batch_first=True)(cr.ones((0, 5, 2)))
    assert (y.shape, h.shape, c.shape) == ((0, 5, 3), (1, 0, 3), (1, 0, 3))


def test_packed_data_is_differentiable():
    packed = rnn.pack_padded_sequence(cr.asarray(seeded(4, 2, 1)), [4, 2])
    lengths = [4, 2]

    def loss(x):
        padded, _ = rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, lengths))
        return (padded * padded).sum()

    assert packed.data.shape == (6, 1)
    g = cr.grad(loss)(cr.asarray(seeded(4, 2, 1))).numpy()
    assert g[2:, 1].tolist() == [[0.0], [0.0]]
    assert g[:, 0].all()


X = cr.ones((5, 2, 3))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nn.RNN(3, 4)(cr.ones((5, 2, 7))), cr.ShapeError, r"\(length, batch, 3\).*7"),
        (lambda: nn.RNN(3, 4, batch_first=True)(cr.ones(3)), cr.ShapeError, "batch, length, 3"),
        (lambda: nn.RNN(3, 4)(X, cr.ones((1, 3, 4))), cr.ShapeError, r"h .*\(1, 3, 4\).*\(1, 2, 4"),
        (lambda: nn.LSTM(3, 4)(X, cr.ones((1, 2, 4))), cr.DTypeError, r"pair \(h, c\)"),
        (
            lambda: nn.LSTM(3, 4)(X, (cr.ones((1, 2, 4)), cr.ones((1, 2, 5)))),
            cr.ShapeError,
            r"state c .*\(1, 2, 5\)",
        ),
        (lambda: nn.GRU(3, 4)(X, (cr.ones((1, 2, 4)),)), cr.DTypeError, "one tensor"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5, 6]), cr.ShapeError, "sequence 1 is 6.*0 … 5"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5]), cr.ShapeError, "2 sequences"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5.0, 1.0]), cr.DTypeError, "whole numbers"),
        (lambda: nn.GRU(3, 4)(cr.ones((5, 2, 3), dtype=cr.int64)), cr.DTypeError, "floating"),
        (lambda: nn.GRUCell(3, 4)(cr.ones((2, 5))), cr.ShapeError, r"\(batch, 3\)"),
        (lambda: nn.LSTMCell(3, 4)(cr.ones((2, 3)), cr.ones((2, 4))), cr.DTypeError, "pair"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), cr.DTypeError, "tanh"),
        (lambda: nn.RNN(3, 4, dropout=2), cr.DTypeError, "probability"),
        (lambda: nn.RNN(3, 0), cr.DTypeError, "hidden_size"),
        (lambda: nn.LSTM(3, 4, proj_size=4), cr.ShapeError, "proj_size 4 is smaller than"),
        (lambda: rnn.pack_padded_sequence(X, [2, 5]), cr.ShapeError, "enforce_sorted=False"),
        (lambda: rnn.pack_padded_sequence(X, [5, 0]), cr.ShapeError, "sequence 1 is 0.*1 … 5"),
        (lambda: rnn.pack_padded_sequence(X, [5, 5, 5]), cr.ShapeError, "2 sequences"),
        (lambda: rnn.pack_padded_sequence(cr.ones(3), [3]), cr.ShapeError, r"\(3,\)"),
        (lambda: rnn.pack_sequence([]), cr.DTypeError, "at least one"),
        (lambda: rnn.pack_sequence([cr.ones((2, 3)), cr.ones((1, 4))]), cr.ShapeError, "number 1"),
        (lambda: rnn.pad_packed_sequence(X), cr.DTypeError, "PackedSequence"),
        (
            lambda: rnn.pad_packed_sequence(rnn.pack_padded_sequence(X, [5, 2]), total_length=3),
            cr.ShapeError,
            "total_length 3",
        ),
        (
            lambda: nn.GRU(4, 2)(rnn.pack_padded_sequence(X, [5, 2])),
            cr.ShapeError,
            "4 features",
        ),
        (
            lambda: nn.GRU(3, 2)(rnn.pack_padded_sequence(X, [5, 2]), lengths=[5, 2]),
            cr.ShapeError,
            "leave lengths= out",
        ),
        (
            lambda: cr.compile(lambda x, n: rnn.pack_padded_sequence(x, n).data)(
                X, cr.asarray([5, 2])
            ),
            cr.CompileError,
            "lengths=",
        ),
    ],
)
def test_misuse(call, error, says):
    with pytest.raises(error, match=says):
        call()
