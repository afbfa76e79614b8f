"""Cells: storage that does not move, versions, and what looks into the storage."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tensor.cell import Cell


def test_the_storage_never_moves():
    cell = Cell(np.arange(3.0))
    address = np.asarray(cell).__array_interface__["data"][0]
    cell.assign([5.0, 6.0, 7.0])
    cell[1] = 0.0
    cell.storage()[...] *= 2
    assert cell.tolist() == [10, 0, 14]
    assert np.asarray(cell).__array_interface__["data"][0] == address


def test_every_write_raises_the_version():
    cell = Cell(np.arange(3.0))
    versions = [cell.version]
    cell.assign([1.0, 2.0, 3.0])
    versions.append(cell.version)
    cell.storage()
    versions.append(cell.version)
    cell[0] = 4.0
    versions.append(cell.version)
    assert versions == sorted(set(versions))


def test_a_cell_takes_its_own_memory():
    a = np.arange(3.0)
    cell = Cell(a)
    a[0] = 9
    assert cell.tolist() == [0, 1, 2]
    cell.assign(cell[::-1])  # a value that looks into the cell itself
    assert cell.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.assign([5.0, 6.0]),
        lambda w: w.storage().__setitem__(0, 5.0),
        lambda w: w.__setitem__(0, 5.0),
        lambda w: w.__iadd__(1.0),
    ],
)
@pytest.mark.parametrize("saved", [lambda w: w * w, lambda w: w[::-1] * w, lambda w: cr.exp(w) * w])
def test_backward_through_an_overwritten_value_is_refused(write, saved):
    w = nn.Parameter(cr.ones(2))
    loss = saved(w).sum()
    with cr.no_grad():
        write(w)
    with pytest.raises(cr.GradientError, match=r"version 0, now \d") as error:
        loss.backward()
    assert "test_cells.py" in str(error.value)
    saved(w).sum().backward()  # computed anew, it is fine
    assert w.grad is not None


def test_backward_is_not_refused_where_the_value_was_not_needed():
    w = nn.Parameter(cr.ones(2))
    loss = (w + 1).sum()
    w.assign([5.0, 6.0])
    loss.backward()
    assert w.grad.tolist() == [1, 1]


def test_views_are_live_and_copies_are_not():
    w = nn.Parameter(cr.ones(2))
    live, kept = np.asarray(w), w.numpy(copy=True)
    w.assign([5.0, 6.0])
    assert live.tolist() == [5, 6]
    assert kept.tolist() == [1, 1]


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w[1:3], lambda w: w[::-1], lambda w: w.reshape(2, 2), lambda w: w.detach(),
        lambda w: cr.flip(w), lambda w: w[1:][:1], lambda w: w.reshape(2, 2).T, lambda w: +w,
        lambda w: cr.stop_gradient(w), lambda w: cr.broadcast_to(w, (2, 4)), lambda w: w[None],
        lambda w: cr.expand_dims(w, axis=0), lambda w: cr.squeeze(w.reshape(1, 4), axis=0),
    ],
)  # fmt: skip
def test_a_tensor_taken_before_a_write_keeps_what_it_had(view):
    w = nn.Parameter(cr.arange(4.0))
    part = view(w)
    before = part.tolist()
    w.assign(w.detach() * 10 + 1)
    assert part.tolist() == before
    assert w.tolist() == [1, 11, 21, 31]


def test_what_does_not_fit_is_refused():
    cell = Cell(np.arange(3.0))
    with pytest.raises(cr.ShapeError, match=r"\(2,\).*\(3,\)"):
        cell.assign([1.0, 2.0])
    with pytest.raises(cr.DTypeError, match="complex128"):
        cell.assign(np.array([1j, 1j, 1j]))
    assert cell.tolist() == [0, 1, 2]
    assert cell.version == 0


def test_copies_and_pickles_are_cells_of_their_own():
    w = nn.Parameter(cr.arange(3.0))
    for other in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert type(other) is type(w)
        assert other.requires_grad
        w.assign(w.detach() + 1)
        assert not np.shares_memory(other.numpy(), w.numpy())
    assert copy.deepcopy(w).tolist() == [2, 3, 4]


def test_gradients_handed_to_two_parameters_are_two():
    """A sum has one derivative for both operands; clipping one must not reach the other."""
    a, b = nn.Parameter(cr.ones(2)), nn.Parameter(cr.ones(2))
    (a + b).sum().backward()
    a.grad *= 5.0
    assert b.grad.tolist() == [1, 1]
    seed = cr.ones(2)
    a.grad = None
    (a + 0).backward(seed)
    a.grad[0] = 7.0
    assert seed.tolist() == [1, 1]
