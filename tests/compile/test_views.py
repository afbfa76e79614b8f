"""Views of memory against what NumPy makes of an array that lies there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from chainrule.compile.views import Buffer, View, axis_order, collapsed, packed

MEMORY = np.arange(4000)
INT = MEMORY.dtype


def array(view):
    """What a view of `MEMORY` shows."""
    if 0 in view.shape:
        return np.empty(view.shape, INT)
    reach = [(n - 1) * s for n, s in zip(view.shape, view.strides, strict=True)]
    low = view.offset + sum(min(r, 0) for r in reach)
    high = view.offset + sum(max(r, 0) for r in reach)
    assert low >= 0
    assert high < MEMORY.size
    return as_strided(MEMORY[view.offset :], view.shape, [s * INT.itemsize for s in view.strides])


def whole(shape):
    return View(Buffer("arena", MEMORY.nbytes), shape, packed(shape), INT)


def reshapes(size):
    """Shapes of so many elements, ones among them."""
    shapes = st.lists(st.sampled_from([1, 2, 3, 4, 5, 6, 8]), max_size=5).map(tuple)
    return shapes.filter(lambda s: int(np.prod(s)) == size) | st.sampled_from(
        [(size,), (1, size), (size, 1), (1, size, 1), (2, size // 2) if size % 2 == 0 else (size,)]
    )


@st.composite
def part(draw, shape):
    """(NumPy's index, the pattern of `getitem`)."""
    index, pattern = [], []
    for n in shape:
        if draw(st.integers(0, 5)) == 0:
            index.append(None)
            pattern.append(None)
        if n and draw(st.integers(0, 3)) == 0:
            index.append(draw(st.integers(-n, n - 1)))
            pattern.append(index[-1])
        else:
            found = draw(st.slices(n)) if draw(st.booleans()) else slice(None)
            index.append(found)
            pattern.append((found.start, found.stop, found.step))
    cut = draw(st.integers(0, len(index)))
    if draw(st.booleans()):  # what an ellipsis stands for, wherever it stands
        while cut < len(index) and index[cut] == slice(None):
            del index[cut], pattern[cut]
        index.insert(cut, Ellipsis)
        pattern.insert(cut, Ellipsis)
    return tuple(index), tuple(pattern)


@st.composite
def moves(draw, shape):
    """(how a view moves, how NumPy's array does) of something of this shape."""
    kind = draw(st.sampled_from(["permute", "flip", "broadcast", "index", "reshape"]))
    if kind == "permute":
        axes = tuple(draw(st.permutations(range(len(shape)))))
        return lambda v: v.permute(axes), lambda x: x.transpose(axes)
    if kind == "flip":
        axes = tuple(a for a in range(len(shape)) if draw(st.booleans()))
        return lambda v: v.flip(axes), lambda x: np.flip(x, axes)
    if kind == "broadcast":
        lead = tuple(draw(st.lists(st.integers(1, 2), max_size=1)))
        wider = (*lead, *(draw(st.integers(1, 3)) if n == 1 else n for n in shape))
        return lambda v: v.broadcast(wider), lambda x: np.broadcast_to(x, wider)
    if kind == "index":
        index, pattern = draw(part(shape))
        return lambda v: v.index(pattern, np.empty(shape)[index].shape), lambda x: x[index]
    wanted = draw(reshapes(int(np.prod(shape))))
    return lambda v: v.reshape(wanted), lambda x: without_copy(x, wanted)


def without_copy(x, shape):
    try:
        return np.reshape(x, shape, copy=False)
    except ValueError:
        return None


SHAPES = st.lists(st.integers(0, 6) | st.just(1), max_size=4).map(tuple)


@given(SHAPES, st.data())
def test_moves_one_after_another_are_those_of_numpy(shape, data):
    view, expected = whole(shape), MEMORY[: int(np.prod(shape))].reshape(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        mine, theirs = data.draw(moves(view.shape))
        moved, wanted = mine(view), theirs(expected)
        assert (moved is None) == (wanted is None)
        if moved is None:  # no strides tell it
            continue
        np.testing.assert_array_equal(array(moved), wanted)
        assert moved.shape == wanted.shape
        view, expected = moved, wanted
        if expected.size > 500:
            break


@given(SHAPES.filter(lambda s: 0 not in s), st.data())
def test_what_is_contiguous_lies_in_one_row(shape, data):
    view = whole(shape)
    for _ in range(2):
        mine, _ = data.draw(moves(view.shape))
        view = mine(view) or view
        if 0 in view.shape:
            return
    lies = array(view).reshape(-1)
    assert view.contiguous == np.array_equal(lies, view.offset + np.arange(lies.size))


@given(SHAPES, st.data())
def test_packed_strides_have_no_gaps_in_any_order(shape, data):
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    back = np.argsort(order)
    ideal = np.arange(int(np.prod(shape))).reshape([shape[a] for a in order]).transpose(back)
    view = View(Buffer("arena", 0), shape, packed(shape, order), INT)
    np.testing.assert_array_equal(array(view), ideal)
    wide = [a for a in order if shape[a] > 1]
    if 0 not in shape:
        assert [a for a in axis_order(view) if shape[a] > 1] == wide


def test_axes_that_stay_keep_their_place_in_the_order():
    view = whole((4, 5)).permute((1, 0)).broadcast((3, 5, 4))
    assert axis_order(view) == (0, 2, 1)
    assert axis_order(whole((1, 1))) == (0, 1)


@pytest.mark.parametrize(
    ("shape", "strides", "left"),
    [
        ((3, 4), (4, 1), (1,)),
        ((3, 4), (1, 3), (1, 3)),
        ((2, 3, 4), (24, 4, 1), (24, 1)),
        ((2, 3, 4), (24, 8, 1), (8, 1)),
        ((2, 1, 4), (4, 7, 1), (1,)),
        ((3, 4), (0, 0), (0,)),
        ((), (), (1,)),
    ],
)
def test_axes_behind_one_another_are_one(shape, strides, left):
    assert collapsed(shape, strides) == left
