"""The static rules: what contradicts itself before the first step is found, and nothing else is."""

import numpy as np
import pytest

import chainrule as cr
from benchmarks.diagnosis_static import HEALTHY, MISMATCHES, Example, Made, findings
from benchmarks.diagnosis_static.making import BIT, REAL, Y3, Own, U, X, mlp, net
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.changes import Inapplicable
from chainrule.lens.diagnose.crosstalk import crosstalk
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.loss_forms import kind_of
from chainrule.lens.diagnose.rules.input_scale import curvature


def alarms(case):
    return [f for f in findings(case) if f.severity != "advice"]


def case_of(model, x, y, loss, optimizer=None, batch_size=16):
    return Example("", lambda: Made(model, x, y, loss, optimizer, batch_size)).case()


def test_the_tables_are_as_large_as_they_should_be():
    names = [example.name for example in MISMATCHES + HEALTHY]
    assert len(set(names)) == len(names)
    assert len(MISMATCHES) >= 100
    assert len(HEALTHY) >= 90


@pytest.mark.parametrize("example", MISMATCHES, ids=lambda e: e.name)
def test_a_mismatch_is_found_and_its_cause_stands_first(example):
    found = alarms(example.case())
    assert found, "nothing was found"
    assert found[0].rule in example.rules, [f.rule for f in found]
    assert found[0].where
    assert found[0].claim
    assert found[0].cause
    assert found[0].evidence


@pytest.mark.parametrize("example", HEALTHY, ids=lambda e: e.name)
def test_a_healthy_network_is_let_be(example):
    assert not [(f.rule, f.claim) for f in alarms(example.case())]


def mended(example):
    """Whether one of the first two remedies silences the finding; None where none applies."""
    finding = alarms(example.case())[0]
    applied = []
    for remedy in finding.remedies:
        try:
            made = remedy.apply(finding.setup)
        except Inapplicable:
            continue
        applied.append(finding.rule not in [f.rule for f in alarms(Case(made))])
    return any(applied) if applied else None


def test_remedies_mend():
    said = {example.name: mended(example) for example in MISMATCHES}
    broken = [name for name, good in said.items() if good is False]
    assert not broken
    assert sum(good is True for good in said.values()) >= 70


def forms():
    """(kind, loss of float64 arrays) as textbooks have them."""

    def softmax(z):
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    labels = np.array([0, 2, 1, 1, 0])
    rows, hot = np.arange(5), np.eye(3)[labels]
    t = np.array([[0.0], [1.0], [1.0], [0.0], [1.0]])
    real = np.array([[0.3], [-1.0], [2.0], [0.1], [-3.0]])
    logits = np.random.default_rng(2).normal(size=(5, 3))
    p = np.array([[0.2], [0.9], [0.4], [0.6], [0.5]])
    smooth = 0.9 * hot + 0.1 / 3
    weights = np.array([1.0, 3.0, 0.5])[labels]
    return [
        ("cross_entropy", logits, labels, lambda z: -np.log(softmax(z)[rows, labels]).mean()),
        ("cross_entropy", logits, hot, lambda z: -(hot * np.log(softmax(z))).sum()),
        ("cross_entropy", logits, labels, lambda z: -(smooth * np.log(softmax(z))).sum(1).mean()),
        ("cross_entropy", logits, labels,
         lambda z: -(weights * np.log(softmax(z)[rows, labels])).sum() / weights.sum()),
        ("nll", logits, labels, lambda z: -z[rows, labels].mean()),
        ("nll", softmax(logits), labels, lambda q: -np.log(q[rows, labels]).mean()),
        ("bce", p, t, lambda q: -(t * np.log(q) + (1 - t) * np.log(1 - q)).mean()),
        ("bce_with_logits", 4 * p, t, lambda z: (np.log1p(np.exp(z)) - t * z).sum()),
        ("mse", p, real, lambda q: ((q - real) ** 2).mean()),
        ("mse", p, real[:, 0], lambda q: 0.5 * ((q - real) ** 2).sum()),
        ("mae", p, real, lambda q: np.abs(q - real).mean()),
        ("huber", p, real, lambda q: np.where(np.abs(q - real) < 1, 0.5 * (q - real) ** 2,
                                              np.abs(q - real) - 0.5).mean()),
        ("custom", p, real, lambda q: np.log(np.cosh(q - real)).mean()),
        ("custom", p, 2 * t - 1, lambda q: np.maximum(0, 1 - q * (2 * t - 1) - 0.3 * q**2).mean()),
    ]  # fmt: skip


@pytest.mark.parametrize("index", range(len(forms())))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_is_known_by_its_derivative(index, sign):
    kind, p, y, loss = forms()[index]
    gradient = np.zeros_like(p)
    for place in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[place] = 1e-6
        gradient[place] = (loss(p + step) - loss(p - step)) / 2e-6
    found = kind_of(p, sign * gradient, y)
    if kind == "custom" or (sign < 0 and index in (2, 3)):
        assert found is None or (kind != "custom" and found[:2] == (kind, -1.0))
        return
    assert found is not None
    assert found[0] == kind
    assert found[1] == sign


def test_smoothing_is_read_off_the_derivative():
    case = case_of(net(3), X, Y3, lambda o, y: nn.cross_entropy(o, y, label_smoothing=0.2) * 1.0)
    assert case.loss.kind == "cross_entropy"


@pytest.mark.parametrize(
    ("loss", "y", "out", "reduction"),
    [
        (nn.mse_loss, REAL, 1, "mean"),
        (lambda o, y: ((o - y) ** 2).sum(), REAL, 1, "sum"),
        (lambda o, y: nn.cross_entropy(o, y, reduction="sum"), Y3, 3, "sum"),
        (lambda o, y: nn.cross_entropy(o, y) + 0.0, Y3, 3, "mean"),
        (lambda o, y: cr.log(cr.cosh(o - y)).sum(), REAL, 1, "sum"),
        (lambda o, y: ((o - y) ** 2).sum() / 16, REAL, 1, "unknown"),
    ],
)
def test_the_reduction_is_measured(loss, y, out, reduction):
    found = case_of(net(out), X, y, loss).loss.reduction
    assert found == reduction or reduction == "unknown"


def test_looking_changes_nothing():
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )
    optimizer = optim.Adam(model.parameters())
    case = case_of(model, X, Y3, nn.cross_entropy, optimizer)
    before = case.framework.state(model)
    cr.seed(3)
    expected = nn.Dropout(0.5)(cr.ones(64)).numpy()
    cr.seed(3)
    findings(case)
    np.testing.assert_array_equal(nn.Dropout(0.5)(cr.ones(64)).numpy(), expected)
    after = case.framework.state(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_crosstalk_is_what_finite_differences_say():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(x - 0.5 * x.mean(axis=0))

    model = Centred()
    case = case_of(model, X, Y3 % 2, nn.cross_entropy)
    x = case.first.x[:6]
    changed = x.copy()
    changed[0] = case.first.x[-1]
    weight, bias = (p.numpy() for p in model.parameters())
    before, after = (
        (v - 0.5 * v.mean(0)) @ weight.T + bias for v in (x.astype(float), changed.astype(float))
    )
    expected = np.abs(after - before)[1:].max() / np.abs(before).max()
    assert crosstalk(case).leak == pytest.approx(expected, rel=1e-3)
    assert crosstalk(case_of(net(3), X, Y3, nn.cross_entropy)).leak == 0


def test_the_layer_that_mixes_examples_is_named():
    model = nn.Sequential(nn.Linear(6, 8), nn.Softmax(0), nn.Linear(8, 3))
    found = alarms(case_of(model, X, Y3, nn.cross_entropy))
    assert {f.where for f in found if f.rule in ("softmax-axis", "batch-crosstalk")} == {"1"}


def test_the_curvature_is_the_largest_eigenvalue():
    x = X * np.array([1, 30, 0.1, 5, 2, 1]) + 3
    with_one = np.concatenate([x, np.ones((len(x), 1))], 1)
    exact = np.linalg.eigvalsh(with_one.T @ with_one / len(x)).max()
    assert curvature(x) == pytest.approx(exact, rel=1e-6)


def test_the_double_softmax_floor_is_reached_by_certain_outputs():
    case = case_of(net(3, nn.Softmax(1)), X, Y3, nn.cross_entropy)
    (found,) = [f for f in findings(case) if f.rule == "double-softmax"]
    certain = np.eye(3)[Y3]
    second = np.exp(certain) / np.exp(certain).sum(1, keepdims=True)
    least = -np.log(second[np.arange(len(Y3)), Y3]).mean()
    assert found.evidence[0].value == pytest.approx(least)


def test_the_share_of_variance_that_a_range_loses():
    case = case_of(net(1, nn.Sigmoid()), X, 2 * REAL, nn.mse_loss)
    (found,) = [f for f in findings(case) if f.rule == "output-activation"]
    y = np.asarray(case.setup.y, dtype=np.float64)
    best = np.clip(y, 0, 1)
    assert found.evidence[1].value == pytest.approx(((y - best) ** 2).mean() / y.var())


@pytest.mark.parametrize(
    ("function", "loss", "rule", "place"),
    [
        (lambda s, x: cr.softmax(s.body(x), -1), nn.cross_entropy, "double-softmax", "body.2"),
        (lambda s, x: cr.softmax(x @ s.weight, -1), nn.cross_entropy, "double-softmax", "weight"),
        (lambda s, x: s.body(x), lambda z, y: nn.cross_entropy(cr.softmax(z, -1), y),
         "double-softmax", "loss"),
        (lambda s, x: cr.log(s.body(x) - 99), nn.cross_entropy, "non-finite", "body.2"),
        (lambda s, x: s.body(x - cr.mean(x, axis=0)), nn.cross_entropy, "batch-crosstalk", "model"),
        (lambda s, x: s.body(x) - cr.mean(s.body(x), axis=0), nn.cross_entropy, "batch-crosstalk",
         "body.2"),
        (lambda s, x: s.body(cr.concat([x, x], axis=1)), nn.cross_entropy, "model-error", "body.0"),
    ],
)  # fmt: skip
def test_what_the_models_own_code_does_is_placed_at_the_layer_before_it(
    function, loss, rule, place
):
    model = Own(function, body=net(3), weight=nn.Parameter(cr.ones((6, 3))))
    assert [f.where for f in alarms(case_of(model, X, Y3, loss)) if f.rule == rule] == [place]


@pytest.mark.parametrize(
    ("model", "y", "loss", "place"),
    [
        (lambda: net(1), BIT, nn.binary_cross_entropy, "2"),  # no sigmoid
        (lambda: net(1), REAL, nn.binary_cross_entropy_with_logits, "loss"),  # any number comes out
        (lambda: net(1, nn.Sigmoid()), REAL, nn.binary_cross_entropy, "3"),
        (lambda: net(1), BIT[:, 0].astype(int), nn.cross_entropy, "2"),  # one output for classes
        (lambda: net(3), Y3, nn.nll_loss, "2"),
    ],
)
def test_a_loss_that_does_not_fit_names_the_output_layer(model, y, loss, place):
    found = alarms(case_of(model(), X, y, loss))[0]
    assert (found.rule, found.where) == ("loss-output-mismatch", place)


def test_the_origin_of_a_number_that_is_not_finite():
    def loss(out, y):
        return (cr.log(out - 10) * y).mean()

    (found,) = [f for f in alarms(case_of(net(1), X, REAL, loss)) if f.rule == "non-finite"]
    assert "log" in found.claim
    assert found.where == "loss"


def test_rows_and_columns_of_bad_inputs_are_named():
    x = X.copy()
    x[[5, 40], 2] = np.nan
    found = alarms(case_of(net(3), x, Y3, nn.cross_entropy))[0]
    assert found.rule == "non-finite"
    assert "2 of" in found.claim
    assert "column 2" in found.claim


def test_rows_have_the_numbers_that_they_were_given_with():
    x = X.copy()
    x[41, 3] = np.inf
    setup = setup_of(net(3), (x, Y3), loss=nn.cross_entropy, seed=4)  # splits the rows at random
    (found,) = [f for f in alarms(Case(setup)) if f.rule == "non-finite"]
    assert "row 41, column 3" in found.claim


def test_a_parameter_behind_a_cut_is_told_from_one_that_is_not_used():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.spare = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.first(x).detach())

    found = alarms(case_of(Cut(), X, Y3, nn.cross_entropy))
    assert [(f.rule, f.where) for f in found] == [
        ("unreached-parameters", "first"),
        ("unreached-parameters", "spare"),
    ]
    assert "cut" in found[0].claim
    assert "no part" in found[1].claim


def test_labels_outside_name_the_row():
    y = Y3.copy()
    y[70] = 7
    (found,) = [
        f for f in alarms(case_of(net(3), X, y, nn.cross_entropy)) if f.rule == "target-encoding"
    ]
    assert "row 70" in found.claim
    assert "7" in found.claim


def test_a_frozen_middle_layer_is_let_be_where_it_was_trained():
    def made(rank_one):
        model = mlp(6, 16, 16, 3)
        weight = dict(model.named_parameters())["2.weight"]
        values = weight.numpy(copy=True)
        if rank_one:  # training adds few directions to what was drawn
            values += 0.5 * np.outer(np.ones(16), np.linspace(-1, 1, 16)).astype(np.float32)
        weight.assign(values)
        for name, p in model.named_parameters():
            p.requires_grad = not name.startswith("2.")
        held = [p for p in model.parameters() if p.requires_grad]
        return case_of(model, X, Y3, nn.cross_entropy, optim.SGD(held, lr=0.1))

    assert [f.rule for f in alarms(made(False))] == ["frozen-parameters"]
    assert not alarms(made(True))


def test_class_weights_and_targets_of_both_kinds_are_not_mixed_up():
    twins = [
        (net(1, nn.Sigmoid()), BIT, nn.binary_cross_entropy),
        (net(1), BIT, nn.binary_cross_entropy_with_logits),
        (net(1, nn.Sigmoid()), U[:, :1], nn.mse_loss),
    ]
    for model, y, loss in twins:
        assert not alarms(case_of(model, X, y, loss))
