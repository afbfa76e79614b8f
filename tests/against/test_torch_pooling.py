"""Max pooling at its edges, against PyTorch: what the samples of the registry do not reach."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn


@pytest.mark.parametrize("value", [-np.inf, np.nan, 0.0])
def test_a_flat_image_has_its_derivative_inside_of_it(value):
    """In a window at the border nothing is larger than the padding, and yet a pixel wins."""
    x = np.full((1, 1, 4, 5), value, np.float32)
    ours = cr.asarray(x, requires_grad=True)
    theirs = torch.tensor(x, requires_grad=True)
    nn.max_pool2d(ours, 3, 2, 1).sum().backward()
    torch.nn.functional.max_pool2d(theirs, 3, 2, 1).sum().backward()
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def test_windows_that_see_nothing_but_padding_are_refused():
    with pytest.raises(cr.ShapeError, match="steps over the image"):
        nn.max_pool2d(cr.ones((1, 1, 2, 4)), 2, padding=1, dilation=3)


def test_a_gradient_that_is_not_finite_reaches_its_winner_alone():
    x = np.random.default_rng(0).normal(size=(1, 1, 5, 5))
    g = np.ones((1, 1, 3, 3))
    g[0, 0, 1, 1], g[0, 0, 0, 2] = np.nan, np.inf
    mine = cr.asarray(x, requires_grad=True)
    cr.max_pool2d(mine, 3, stride=1).backward(cr.asarray(g))
    theirs = torch.tensor(x, requires_grad=True)
    torch.nn.functional.max_pool2d(theirs, 3, stride=1).backward(torch.tensor(g))
    np.testing.assert_array_equal(mine.grad.numpy(), theirs.grad.numpy())
