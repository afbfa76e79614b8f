"""Recurrent networks equal PyTorch's: values, states and gradients, in float64."""

import numpy as np
import pytest
import torch
from torch import nn as tnn
from torch.nn.utils import rnn as trnn

import chainrule as cr
from chainrule import nn
from tests.against.test_torch_nn import check, seeded, twins

RNN = nn.utils.rnn
OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "two layers": {"num_layers": 2, "batch_first": True},
    "both ways": {"bidirectional": True},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}


def flat(*parts):
    if isinstance(parts[0], torch.Tensor):
        return torch.cat([p.reshape(-1) for p in parts])
    return cr.concat([cr.reshape(p, (-1,)) for p in parts])


def states(kind, options, batch=3, size=4):
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    out = options.get("proj_size", size)
    shapes = [(count, batch, out), (count, batch, size)]
    return [seeded(*s, seed=5 + i) for i, s in enumerate(shapes[: 2 if kind == "LSTM" else 1])]


def called(model, x, *hx):
    y, last = model(x, *((hx if len(hx) == 2 else hx[0],) if hx else ()))
    return flat(y, *(last if isinstance(last, tuple) else (last,)))


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_sequences(kind, options, given):
    options = OPTIONS[options]
    ours, theirs = twins(lambda lib: getattr(lib, kind)(2, 4, **options))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = seeded(3, 5, 2) if options.get("batch_first") else seeded(5, 3, 2)
    check(ours, theirs, x, *(states(kind, options) if given else ()), call=called)


def test_relu_and_projections():
    check(*twins(lambda lib: lib.RNN(2, 4, 2, nonlinearity="relu")), seeded(5, 3, 2), call=called)
    options = {"proj_size": 3, "num_layers": 2, "bidirectional": True}
    ours, theirs = twins(lambda lib: lib.LSTM(2, 4, **options))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    check(ours, theirs, seeded(5, 3, 2), *states("LSTM", options), call=called)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_one_sequence_without_a_batch(kind):
    pair = twins(lambda lib: getattr(lib, kind)(2, 4, bidirectional=True))
    check(*pair, seeded(5, 2), call=called)
    hx = [h[:, 0] for h in states(kind, {"bidirectional": True}, batch=1)]
    check(*pair, seeded(5, 2), *hx, call=called)


@pytest.mark.parametrize("hx", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_packed_sequences(kind, ordered, hx):
    options = {"num_layers": 2, "bidirectional": True}
    lengths = [5, 3, 1] if ordered else [3, 5, 1]

    def call(model, x, *given):
        rnn = RNN if isinstance(model, nn.Module) else trnn
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=ordered)
        y, last = model(packed, *((given if len(given) == 2 else given[0],) if given else ()))
        last = last if isinstance(last, tuple) else (last,)
        padded, found = rnn.pad_packed_sequence(y, batch_first=True, padding_value=7.0)
        assert found.tolist() == lengths
        return flat(y.data, padded, *last)

    ours, theirs = twins(lambda lib: getattr(lib, kind)(2, 4, **options))
    check(ours, theirs, seeded(5, 3, 2), *(states(kind, options) if hx else ()), call=call)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_lengths_are_packing(kind):
    def call(model, x):
        lengths = [2, 5, 4]
        if isinstance(model, nn.Module):
            y, last = model(x, lengths=lengths)
        else:
            packed = trnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, last = model(packed)
            y = trnn.pad_packed_sequence(y)[0]
        return flat(y, *(last if isinstance(last, tuple) else (last,)))

    pair = twins(lambda lib: getattr(lib, kind)(2, 4, bidirectional=True, num_layers=2))
    check(*pair, seeded(5, 3, 2), call=call)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (2,)])
@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(kind, shape, bias):
    def call(model, x, *hx):
        found = model(x, *((hx if len(hx) == 2 else hx[0],) if hx else ()))
        return flat(*(found if isinstance(found, tuple) else (found,)))

    pair = twins(lambda lib: getattr(lib, kind)(2, 4, bias=bias))
    check(*pair, seeded(*shape), call=call)
    hx = [seeded(*shape[:-1], 4, seed=i) for i in range(2 if kind == "LSTMCell" else 1)]
    check(*pair, seeded(*shape), *hx, call=call)


def test_a_relu_cell():
    check(*twins(lambda lib: lib.RNNCell(2, 4, nonlinearity="relu")), seeded(3, 2))


def test_first_weights_are_drawn_from_the_same_range():
    layer = nn.LSTM(40, 60)
    for name, parameter in tnn.LSTM(40, 60).named_parameters():
        ours = dict(layer.named_parameters())[name].numpy()
        assert abs(ours.std() - parameter.std().item()) < 0.01
        assert np.abs(ours).max() <= 60**-0.5


def test_packing_and_padding():
    sequences = [seeded(n, 2, seed=n) for n in (2, 4, 1)]
    ours = RNN.pack_sequence([cr.asarray(s) for s in sequences], enforce_sorted=False)
    theirs = trnn.pack_sequence([torch.tensor(s) for s in sequences], enforce_sorted=False)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    back = RNN.unpack_sequence(ours)
    for a, b in zip(back, sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    for options in ({}, {"batch_first": True, "padding_value": -1.0}, {"padding_side": "left"}):
        a = RNN.pad_sequence([cr.asarray(s) for s in sequences], **options)
        b = trnn.pad_sequence([torch.tensor(s) for s in sequences], **options)
        np.testing.assert_array_equal(a, b)
    a, n = RNN.pad_packed_sequence(ours, total_length=6)
    b, m = trnn.pad_packed_sequence(theirs, total_length=6)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(n, m)
