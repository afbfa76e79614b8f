"""Margin, contrastive, focal, Dice and CTC losses: derivatives, exact cases, what is refused."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
X, Y, Z = (RNG.normal(size=(5, 3)) for _ in range(3))
SIGNS = np.array([1, -1, 1, -1, 1])
LABELS = np.array([0, 2, 1, 1, 0])
UNIT = 1 / (1 + np.exp(-X))
SHARES = np.exp(Y) / np.exp(Y).sum(1, keepdims=True)
SEVERAL = np.array([[0, 2, -1], [-1, 0, 1], [1, -1, 1], [2, 1, 0], [1, -1, 0]])


def value(loss, *args, **options):
    return loss(*map(cr.asarray, args), **options).numpy()


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (lambda x, y: nn.binary_cross_entropy(cr.sigmoid(x), y), (X, SHARES)),
        (nn.kl_div, (np.log(UNIT), SHARES)),
        (lambda x, y: nn.kl_div(x, y, log_target=True), (np.log(UNIT), np.log(SHARES))),
        (nn.hinge_embedding_loss, (X[:, 0], SIGNS)),
        (lambda x, y, s: nn.margin_ranking_loss(x, y, s, 0.3), (X[:, 0], Y[:, 0], SIGNS)),
        (nn.soft_margin_loss, (X, np.sign(Y))),
        (nn.multi_margin_loss, (X, LABELS)),
        (lambda x, y: nn.multi_margin_loss(x, y, p=2), (X, LABELS)),
        (nn.multilabel_margin_loss, (X, SEVERAL)),
        (nn.multilabel_soft_margin_loss, (X, SHARES)),
        (nn.cosine_embedding_loss, (X, Y, SIGNS)),
        (nn.triplet_margin_loss, (X, Y, Z)),
        (lambda *a: nn.triplet_margin_loss(*a, p=3.0, swap=True), (X, Y, Z)),
        (nn.info_nce_loss, (X, Y)),
        (nn.info_nce_loss, (X, Y, Z[:2])),
        (nn.nt_xent_loss, (X, Y)),
        (nn.focal_loss, (X, LABELS)),
        (lambda x, y: nn.focal_loss(x, y, gamma=0.5), (X, LABELS)),
        (nn.sigmoid_focal_loss, (X, SHARES)),
        (nn.dice_loss, (UNIT.reshape(1, 5, 3), SHARES.reshape(1, 5, 3))),
    ],
)
def test_derivatives(loss, args):
    first, *rest = args
    cr.check_gradients(lambda x: loss(x, *map(cr.asarray, rest)).sum(), first, order=2)


def test_of_one_class_focal_is_cross_entropy_where_gamma_is_0():
    np.testing.assert_allclose(
        value(nn.focal_loss, X, LABELS, gamma=0), value(nn.cross_entropy, X, LABELS), rtol=1e-14
    )
    weight = np.array([1.0, 2.0, 3.0])
    each = value(nn.focal_loss, X, LABELS, gamma=1.5, reduction="none")
    found = value(nn.focal_loss, X, LABELS, weight=weight, gamma=1.5, reduction="none")
    np.testing.assert_allclose(found, each * weight[LABELS], rtol=1e-14)


def test_divergence_is_the_difference_of_cross_entropies():
    """KL(y ‖ q) = H(y, q) − H(y), and 0 where the two are equal."""
    logs = np.log(SHARES[::-1])
    cross = -(SHARES * logs).sum(1).mean()
    entropy = -(SHARES * np.log(SHARES)).sum(1).mean()
    found = value(nn.kl_div, logs, SHARES, reduction="batchmean")
    np.testing.assert_allclose(found, cross - entropy, rtol=1e-12)
    assert abs(value(nn.kl_div, np.log(SHARES), SHARES, reduction="batchmean")) < 1e-15


def test_what_is_impossible_under_the_target_costs_nothing_and_has_a_derivative():
    q, y = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    x, t = cr.asarray(np.log(q), requires_grad=True), cr.asarray(y, requires_grad=True)
    nn.kl_div(x, t, reduction="sum").backward()
    assert x.grad.tolist() == [[-1.0, 0.0]]
    assert np.isfinite(t.grad.numpy()).all()


def test_contrastive_losses_of_equal_views_are_known():
    """Of orthogonal rows: every other one is at similarity 0, the partner at 1."""
    eye = np.eye(4)
    for tau in (0.1, 1.0):
        own = np.exp(1 / tau)
        found = value(nn.info_nce_loss, eye, eye, temperature=tau)
        np.testing.assert_allclose(found, np.log((own + 3) / own), rtol=1e-10)
        found = value(nn.nt_xent_loss, eye, 3 * eye, temperature=tau)
        np.testing.assert_allclose(found, np.log((own + 6) / own), rtol=1e-10)


def test_a_perfect_overlap_costs_nothing():
    y = (RNG.random((2, 3, 8)) > 0.5) * 1.0
    assert value(nn.dice_loss, y, y) == pytest.approx(0, abs=1e-12)
    assert value(nn.dice_loss, np.zeros_like(y), np.zeros_like(y)) == pytest.approx(0)
    assert value(nn.dice_loss, 1 - y, y) == pytest.approx(1, abs=1e-5)


# CTC


def all_labellings(logs, steps, blank):
    """labelling → its probability, by going through every path."""
    found = {}
    for path in itertools.product(range(logs.shape[1]), repeat=steps):
        merged = tuple(c for c, _ in itertools.groupby(path) if c != blank)
        p = np.exp(sum(logs[t, c] for t, c in enumerate(path)))
        found[merged] = found.get(merged, 0.0) + p
    return found


@pytest.mark.parametrize("blank", [0, 2])
def test_probabilities_of_all_labellings_add_up_to_one(blank):
    x = RNG.normal(size=(4, 3))
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    exact = all_labellings(logs, 4, blank)
    assert sum(exact.values()) == pytest.approx(1)
    longest = max(map(len, exact))
    labels = np.array([list(k) + [0] * (longest - len(k)) for k in exact])
    counts = np.array([len(k) for k in exact])
    many = np.repeat(logs[:, None], len(exact), 1)
    losses = value(
        nn.ctc_loss, many, labels, np.full(len(exact), 4), counts, blank=blank, reduction="none"
    )
    np.testing.assert_allclose(losses, -np.log(list(exact.values())), rtol=1e-12)


def test_ctc_in_second_order():
    x, labels = RNG.normal(size=(5, 2, 3)), np.array([[1, 1], [2, 0]])

    def loss(x):
        return nn.ctc_loss(nn.log_softmax(x), labels, [5, 4], [2, 1])

    cr.check_gradients(loss, x, order=2)


def test_classes_of_probability_zero():
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[[0.5, 0.5, 0.0]], [[0.0, 1.0, 0.0]]]))
    x = cr.asarray(logs, requires_grad=True)
    loss = nn.ctc_loss(x, [[1]], [2], [1], reduction="sum")  # "- 1" and "1 1": certain
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(x.grad[:, 0], [[-0.5, -0.5, 0], [0, -1, 0]], atol=1e-14)
    assert value(nn.ctc_loss, logs, [[2]], [2], [1]) == np.inf


LOGS = np.log(np.full((4, 2, 3), 1 / 3))
GOOD = [[1, 2], [2, 0]], [4, 4], [2, 1]


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        (([[1, 2]], [4, 4], [2, 1]), cr.ShapeError, r"\(2, …\), not \(1, 2\)"),
        ((GOOD[0], [4, 5], GOOD[2]), cr.ShapeError, r"input_lengths\[1\] is 5.*4 steps"),
        ((GOOD[0], GOOD[1], [3, 1]), cr.ShapeError, r"target_lengths\[0\] is 3"),
        ((GOOD[0], [4], GOOD[2]), cr.ShapeError, "input_lengths are 2 whole"),
        (([[1, 3], [2, 0]], *GOOD[1:]), cr.ShapeError, "target 1 of example 0 is 3"),
        (([[1, 0], [2, 0]], *GOOD[1:]), cr.ShapeError, "other than the blank, 0"),
        (([1, 2], *GOOD[1:]), cr.ShapeError, "add up to 3"),
        (([[1.0, 2.0], [2.0, 0.0]], *GOOD[1:]), cr.DTypeError, "whole numbers"),
    ],
)
def test_misuse_of_ctc(args, error, says):
    with pytest.raises(error, match=says):
        nn.ctc_loss(cr.asarray(LOGS), *args)


def test_a_blank_that_is_no_class_is_told():
    with pytest.raises(cr.ShapeError, match="blank is one of the 3 classes"):
        nn.ctc_loss(cr.asarray(LOGS), *GOOD, blank=3)


ROW, COLUMN = cr.ones(4), cr.ones((4, 1))


@pytest.mark.parametrize(
    "loss",
    [
        nn.binary_cross_entropy,
        nn.kl_div,
        nn.hinge_embedding_loss,
        nn.soft_margin_loss,
        nn.multilabel_soft_margin_loss,
        nn.sigmoid_focal_loss,
        nn.dice_loss,
        nn.info_nce_loss,
        nn.nt_xent_loss,
        lambda a, b: nn.margin_ranking_loss(a, b, a),
        lambda a, b: nn.margin_ranking_loss(a, a, b),
        lambda a, b: nn.cosine_embedding_loss(a, b, cr.ones(4)),
        lambda a, b: nn.triplet_margin_loss(a, b, a),
        lambda a, b: nn.triplet_margin_loss(a, a, b),
    ],
)
def test_a_row_against_a_column_is_refused(loss):
    for a, b in ((ROW, COLUMN), (COLUMN, ROW)):
        with pytest.raises(cr.ShapeError, match=r"\(4, 1\).*reshape"):
            loss(a, b)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nn.binary_cross_entropy([1.5], [1.0]), cr.DTypeError, "1.5.*sigmoid"),
        (lambda: nn.binary_cross_entropy(ROW, ROW, weight=cr.ones((3, 1))), cr.ShapeError, "3, 4"),
        (lambda: nn.hinge_embedding_loss(ROW, cr.zeros(4)), cr.DTypeError, r"2 \* target - 1"),
        (lambda: nn.multi_margin_loss(X, [0, 1, 2, 3, 0]), cr.ShapeError, "row 3 has the label 3"),
        (lambda: nn.multi_margin_loss(X, LABELS, p=3), cr.DTypeError, "p is 1 or 2"),
        (lambda: nn.multilabel_margin_loss(X, SEVERAL + 5), cr.ShapeError, "classes 0 … 2"),
        (lambda: nn.multilabel_margin_loss(X, LABELS), cr.ShapeError, r"\(5,\)"),
        (lambda: nn.triplet_margin_loss(X, Y, Z, margin=0), cr.DTypeError, "margin"),
        (lambda: nn.info_nce_loss(X, Y, temperature=0), cr.DTypeError, "temperature"),
        (lambda: nn.info_nce_loss(X, Y, Z[:, :2]), cr.ShapeError, r"\(5, 2\)"),
        (lambda: nn.focal_loss(X, LABELS, gamma=-1), cr.DTypeError, "gamma"),
        (lambda: nn.sigmoid_focal_loss(X, UNIT, alpha=2), cr.DTypeError, "alpha"),
        (lambda: nn.dice_loss(X, Y), cr.ShapeError, "batch, channels"),
        (lambda: nn.cosine_embedding_loss(X, Y, SIGNS[:3]), cr.ShapeError, r"\(3,\)"),
        (lambda: nn.kl_div(X, Y, reduction="average"), cr.DTypeError, "batchmean"),
        (lambda: nn.mse_loss(X, Y, reduction="batchmean"), cr.DTypeError, "reduction"),
        (lambda: nn.soft_margin_loss([1, 2], [1, 1]), cr.DTypeError, "floating"),
    ],
)
def test_misuse(call, error, says):
    with pytest.raises(error, match=says):
        call()
