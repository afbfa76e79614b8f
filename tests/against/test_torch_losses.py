"""Every loss equals PyTorch's: values and gradients of all operands, for all reductions."""

import numpy as np
import pytest
import torch
from torch import nn as tnn
from torch.nn import functional as F

import chainrule as cr
from chainrule import nn
from tests.against.test_torch_nn import check, seeded, twins

RNG = np.random.default_rng(0)
X, Y, Z = seeded(6, 4), seeded(6, 4, seed=1), seeded(6, 4, seed=2)
UNIT = 1 / (1 + np.exp(-X))
YES = (Y > 0) * 1.0
SIGNS = np.where(seeded(6, seed=3) > 0, 1.0, -1.0)
LABELS = np.array([0, 3, 1, 1, 2, 0])
SEVERAL = np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [2, -1, 2, 2], [1, 1, -1, 0],
                    [0, 2, -1, -1]])  # fmt: skip
SHARES = np.exp(Y) / np.exp(Y).sum(1, keepdims=True)
LOGS = X - np.log(np.exp(X).sum(1, keepdims=True))
WEIGHT = np.array([1.0, 2.0, 0.5, 3.0])
IMAGES = seeded(2, 4, 3, 2)

CASES = [
    ("MSELoss", {}, (X, Y)),
    ("L1Loss", {}, (X, Y)),
    ("HuberLoss", {"delta": 0.5}, (X, Y)),
    ("SmoothL1Loss", {"beta": 0.5}, (X, Y)),
    ("BCELoss", {}, (UNIT, SHARES)),
    ("BCELoss", {"weight": WEIGHT}, (UNIT, YES)),
    ("BCEWithLogitsLoss", {}, (X, SHARES)),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()}, (X, YES)),
    ("KLDivLoss", {}, (LOGS, SHARES)),
    ("KLDivLoss", {"log_target": True}, (LOGS, np.log(SHARES))),
    ("CrossEntropyLoss", {}, (X, LABELS)),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.2}, (X, LABELS)),
    ("CrossEntropyLoss", {"ignore_index": 1}, (X, LABELS)),
    ("CrossEntropyLoss", {}, (IMAGES, RNG.integers(0, 4, (2, 3, 2)))),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 1}, (LOGS, LABELS)),
    ("NLLLoss", {}, (IMAGES, RNG.integers(0, 4, (2, 3, 2)))),
    ("PoissonNLLLoss", {"full": True}, (X, np.abs(Y) * 3)),
    ("PoissonNLLLoss", {"log_input": False}, (UNIT, np.abs(Y))),
    ("GaussianNLLLoss", {"full": True}, (X, Y, np.abs(Z) + 0.1)),
    ("HingeEmbeddingLoss", {}, (X[:, 0].copy(), SIGNS)),
    ("HingeEmbeddingLoss", {"margin": 0.3}, (X, np.sign(Y))),
    ("MarginRankingLoss", {"margin": 0.2}, (X, Y, np.sign(Z))),
    ("SoftMarginLoss", {}, (X, np.sign(Y))),
    ("MultiMarginLoss", {}, (X, LABELS)),
    ("MultiMarginLoss", {"p": 2, "margin": 0.7, "weight": WEIGHT}, (X, LABELS)),
    ("MultiMarginLoss", {}, (X[0], np.array(2))),
    ("MultiLabelMarginLoss", {}, (X, SEVERAL)),
    ("MultiLabelMarginLoss", {}, (X[0], SEVERAL[0])),
    ("MultiLabelSoftMarginLoss", {}, (X, YES)),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, (X, YES)),
    ("CosineEmbeddingLoss", {}, (X, Y, SIGNS)),
    ("CosineEmbeddingLoss", {"margin": 0.3}, (X, Y, SIGNS)),
    ("CosineEmbeddingLoss", {}, (X[0], Y[0], np.array(-1.0))),
    ("TripletMarginLoss", {}, (X, Y, Z)),
    ("TripletMarginLoss", {"margin": 2.0, "p": 1.0, "swap": True}, (X, Y, Z)),
    ("TripletMarginLoss", {"p": 3.0}, (X, Y, Z)),
    ("TripletMarginWithDistanceLoss", {"swap": True, "margin": 2.0}, (X, Y, Z)),
]


def made(lib, name, options):
    tensor = torch.tensor if lib is tnn else cr.asarray
    arrays = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return getattr(lib, name)(**arrays)


def compare(ours, theirs, arrays, wanted=(0,), rtol=1e-11, atol=1e-12):
    """Equal values and gradients of the floating-point operands `wanted`."""
    given = [cr.asarray(a, requires_grad=i in wanted) for i, a in enumerate(arrays)]
    reference = [torch.tensor(a, requires_grad=i in wanted) for i, a in enumerate(arrays)]
    y, z = ours(*given), theirs(*reference)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y, z.detach(), rtol, atol)
    g = seeded(*y.shape, seed=9)
    y.backward(cr.asarray(g))
    z.backward(torch.tensor(g))
    for i in wanted:
        np.testing.assert_allclose(given[i].grad, reference[i].grad, rtol, atol)


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # PyTorch's advice on KLDivLoss
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
@pytest.mark.parametrize(("name", "options", "arrays"), CASES)
def test_losses(name, options, arrays, reduction):
    options = {**options, "reduction": reduction}
    if reduction == "batchmean" and name != "KLDivLoss":
        with pytest.raises(cr.DTypeError, match="reduction is"):
            made(nn, name, options)(*map(cr.asarray, arrays))
        return
    wanted = [0]
    if name in ("MSELoss", "L1Loss", "KLDivLoss", "MarginRankingLoss") or "Cosine" in name:
        wanted.append(1)
    if "Triplet" in name:
        wanted += [1, 2]
    compare(made(nn, name, options), made(tnn, name, options), arrays, wanted)


def test_derivatives_of_soft_targets():
    compare(nn.cross_entropy, F.cross_entropy, (X, SHARES), (0, 1))
    compare(nn.binary_cross_entropy, F.binary_cross_entropy, (UNIT, SHARES), (0, 1))
    both = nn.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits
    compare(*both, (X, SHARES), (0, 1))


def test_probabilities_of_0_and_1_are_learnt_away_from():
    p, t = np.array([0.0, 1.0, 0.0, 1.0, 1e-20]), np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    compare(
        lambda p, t: nn.binary_cross_entropy(p, t, reduction="sum"),
        lambda p, t: F.binary_cross_entropy(p, t, reduction="sum"),
        (p, t),
        rtol=1e-8,  # PyTorch's 1e-12 is that of float32
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_pairwise_distance(p, keepdim):
    options = {"p": p, "keepdim": keepdim}
    wanted = () if p == 0 else (0, 1)
    if wanted:
        compare(made(nn, "PairwiseDistance", options), tnn.PairwiseDistance(**options), (X, Y),
                wanted)  # fmt: skip
    a = nn.pairwise_distance(X, Y[0], p, keepdims=keepdim)
    np.testing.assert_allclose(
        a, F.pairwise_distance(torch.tensor(X), torch.tensor(Y[0]), **options), rtol=1e-12
    )


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(dim):
    compare(nn.CosineSimilarity(dim), tnn.CosineSimilarity(dim), (X, Y), (0, 1))


# CTC

T, N, C = 7, 4, 5
LOGITS = seeded(T, N, C, seed=5)
TARGETS = np.array([[1, 2, 2], [3, 3, 1], [4, 0, 0], [2, 1, 4]])
STEPS, COUNTS = np.array([7, 6, 3, 5]), np.array([3, 2, 1, 3])


def through_softmax(lib, targets, steps=STEPS, counts=COUNTS, **options):
    """CTC of logits: PyTorch's derivative is right only together with log_softmax's."""
    if lib is tnn:
        numbers = [torch.tensor(a) for a in (targets, steps, counts)]
        return lambda x: F.ctc_loss(F.log_softmax(x, -1), *numbers, **options)
    return lambda x: nn.ctc_loss(nn.log_softmax(x), targets, steps, counts, **options)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("blank", [0, 4])
def test_ctc(reduction, blank):
    targets = TARGETS if blank == 0 else np.where(TARGETS == 4, 0, TARGETS)
    options = {"reduction": reduction, "blank": blank}
    pair = through_softmax(nn, targets, **options), through_softmax(tnn, targets, **options)
    compare(*pair, (LOGITS,))


def test_ctc_with_targets_in_a_row_and_without_a_batch():
    row = np.concatenate([t[:n] for t, n in zip(TARGETS, COUNTS, strict=True)])
    compare(through_softmax(nn, row), through_softmax(tnn, row), (LOGITS,))
    for reduction in ("none", "mean"):
        case = TARGETS[0], np.array(7), np.array(3)
        compare(
            through_softmax(nn, *case, reduction=reduction),
            through_softmax(tnn, *case, reduction=reduction),
            (LOGITS[:, 0],),
        )


def test_ctc_of_what_is_impossible():
    steps = np.array([7, 2, 3, 5])  # "3 3" needs three steps
    for reduction in ("none", "mean", "sum"):
        options = {"reduction": reduction, "zero_infinity": True}
        pair = (through_softmax(lib, TARGETS, steps, **options) for lib in (nn, tnn))
        compare(*pair, (LOGITS,))
    each = through_softmax(nn, TARGETS, steps, reduction="none")(cr.asarray(LOGITS)).numpy()
    assert np.isinf(each).tolist() == [False, True, False, False]


def test_ctc_without_targets_or_steps():
    counts, steps = np.array([0, 1, 0, 3]), np.array([7, 6, 0, 5])
    options = {"reduction": "none"}
    pair = (through_softmax(lib, TARGETS, steps, counts, **options) for lib in (nn, tnn))
    compare(*pair, (LOGITS,))


def test_ctc_of_long_sequences_in_single_precision():
    x = seeded(300, 2, 30).astype(np.float32)
    targets = np.random.default_rng(2).integers(1, 30, (2, 80))
    wide = through_softmax(tnn, targets, [300, 250], [80, 60])(torch.tensor(x).double())
    ours = through_softmax(nn, targets, [300, 250], [80, 60])(cr.asarray(x))
    np.testing.assert_allclose(ours, wide, rtol=2e-6)


def test_ctc_compiled():
    def step(x, targets, steps, counts):
        return cr.value_and_grad(lambda x: nn.ctc_loss(nn.log_softmax(x), targets, steps, counts))(
            x
        )

    args = [cr.asarray(a) for a in (LOGITS, TARGETS, STEPS, COUNTS)]
    loss, g = cr.compile(step)(*args)
    wanted, gradient = step(*args)
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    np.testing.assert_allclose(g, gradient, rtol=1e-10, atol=1e-13)


# Contrastive, focal, Dice: against their definitions, written with PyTorch


def nce(query, positive, negatives=None, temperature=0.1):
    q, k = F.normalize(query, dim=1), F.normalize(positive, dim=1)
    if negatives is None:
        return F.cross_entropy(q @ k.T / temperature, torch.arange(len(q)))
    wrong = q @ F.normalize(negatives, dim=1).T
    scores = torch.cat([(q * k).sum(1, keepdim=True), wrong], 1) / temperature
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.int64))


def test_info_nce():
    compare(nn.info_nce_loss, nce, (X, Y), (0, 1))
    compare(nn.info_nce_loss, nce, (X, Y, Z[:3]), (0, 1, 2))


def nt_xent(a, b, temperature=0.5):
    z = F.normalize(torch.cat([a, b]), dim=1)
    total = 0.0
    for i in range(2 * len(a)):
        j = (i + len(a)) % (2 * len(a))
        others = [k for k in range(2 * len(a)) if k != i]
        total = total + torch.logsumexp(z[others] @ z[i] / temperature, 0)
        total = total - z[i] @ z[j] / temperature
    return total / (2 * len(a))


def test_nt_xent():
    compare(nn.nt_xent_loss, nt_xent, (X, Y), (0, 1))


def focal(x, target, gamma=2.0):
    p = torch.softmax(x, 1).gather(1, target[:, None])[:, 0]
    return (-((1 - p) ** gamma) * torch.log(p)).mean()


def test_focal():
    compare(nn.focal_loss, focal, (X, LABELS))
    compare(
        lambda x, y: nn.focal_loss(x, y, gamma=0.5),
        lambda x, y: focal(x, y, gamma=0.5), (X, LABELS),
    )  # fmt: skip
    compare(lambda x, y: nn.focal_loss(x, y, gamma=0), F.cross_entropy, (X, LABELS))


def sigmoid_focal(x, target):
    p = torch.sigmoid(x)
    yes = -0.25 * (1 - p) ** 2 * torch.log(p)
    return torch.where(target == 1, yes, -0.75 * p**2 * torch.log(1 - p))


def test_sigmoid_focal():
    compare(nn.sigmoid_focal_loss, sigmoid_focal, (X, YES))


def test_dice():
    def theirs(p, y):
        both = (p * y).sum((2, 3))
        return (1 - (2 * both + 1e-6) / (p.sum((2, 3)) + y.sum((2, 3)) + 1e-6)).mean()

    compare(nn.dice_loss, theirs, (1 / (1 + np.exp(-IMAGES)), (IMAGES > 0.5) * 1.0))


@pytest.mark.parametrize("options", [{}, {"head_bias": True, "div_value": 2.0}])
def test_adaptive_softmax(options):
    ours, theirs = twins(lambda lib: lib.AdaptiveLogSoftmaxWithLoss(64, 30, [5, 12, 20], **options))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, labels = seeded(7, 64), np.array([0, 4, 5, 13, 29, 11, 2])
    for part in (0, 1):
        check(ours, theirs, x, labels, call=lambda model, x, y, part=part: model(x, y)[part])
    check(ours, theirs, x[0], np.array(13), call=lambda model, x, y: model(x, y).loss)
    check(ours, theirs, x, call=lambda model, x: model.log_prob(x))
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(torch.tensor(x)))
    compiled = cr.compile(lambda x, y: tuple(ours(x, y)))(cr.asarray(x), cr.asarray(labels))
    for found, wanted in zip(compiled, ours(x, labels), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
