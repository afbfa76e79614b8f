"""What an interpretation says of single rows: shares, flips, rows alike."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.interpret.detail import nearest
from chainrule.lens.interpret.subjects import subject_of
from chainrule.lens.interpret.subjects.subject import reading_of
from tests.lens.interpret.networks import Tokens, dense, images, line

rng = np.random.default_rng(4)
X = rng.normal(size=(70, 4))


def looked(model, x, y, **options):
    found = cr.interpret(model, x[:4], training=(x, y), posterior="none", detail=2, **options)
    return found, [row for row in found.rows if row.why is not None]


def test_shares_add_up_to_what_is_split_up_and_the_flip_is_there():
    y = (X[:, 0] > 0).astype(int)
    found, rows = looked(dense(4, 2), X, y, columns=["a", "b", "c", "d"])
    assert len(rows) == 2
    for row in rows:
        total = row.why.base + sum(share.amount for share in row.why.shares)
        assert total == pytest.approx(row.why.output, abs=1e-2)
        assert row.why.of.startswith("the logit of ")
        assert -1 <= row.why.depends <= 1
        assert row.flip.becomes != row.answer
        assert len(row.neighbours) == 3
        assert row.neighbours[0].row == row.row  # it is a training row itself
        assert row.neighbours[0].similarity == pytest.approx(1)
    assert {name for name, _ in found.importance} == {"a", "b", "c", "d"}
    amounts = [amount for _, amount in found.importance]
    assert amounts == sorted(amounts, reverse=True)


def test_a_real_answer_is_split_up_in_its_own_unit():
    y = X @ [1.0, 2.0, 0.0, 0.0] + 0.1
    _, rows = looked(line([1.0, 2.0, 0.0, 0.0], 0.1), X, y)
    for row in rows:
        assert row.why.of == "the answer"
        assert row.why.output == pytest.approx(float(row.answer), rel=1e-4)
        shares = {share.column: share.amount for share in row.why.shares}
        assert shares["x0"] == pytest.approx(X[row.row, 0] - X.mean(0)[0], abs=0.5)
        assert shares["x3"] == pytest.approx(0, abs=1e-12)
        assert row.flip is None


def test_of_one_output_it_is_the_second_class_that_is_split_up():
    y = (X[:, 0] > 0).astype(int)
    model = line([1.0, 0.0, 0.0, 0.0])
    _, rows = looked(model, X, y, classes=["no", "yes"])
    assert {row.why.of for row in rows} == {"the log-odds of yes"}
    _, rows = looked(nn.Sequential(model, nn.Sigmoid()), X, y, classes=["no", "yes"])
    assert {row.why.of for row in rows} == {"the probability of yes"}


def test_tokens_are_occluded_and_images_have_maps():
    cr.seed(0)
    tokens = rng.integers(0, 7, (20, 5))
    _, rows = looked(Tokens(), tokens, rng.integers(0, 3, 20))
    assert {row.why.method for row in rows} == {"occlusion"}
    assert rows[0].flip is None
    pictures = rng.normal(size=(20, 1, 8, 8)).astype(np.float32)
    _, rows = looked(images(), pictures, rng.integers(0, 3, 20), method="grad-cam")
    assert {row.why.method for row in rows} == {"grad-cam"}


def test_a_method_that_does_not_fit_is_a_warning_and_the_rest_is_said():
    found, rows = looked(dense(4, 2), X, (X[:, 0] > 0).astype(int), method="grad-cam")
    assert rows == []
    assert any("no convolution" in warning for warning in found.warnings)


def test_nearest_rows_by_cosine():
    features, among = rng.normal(size=(3, 5)), rng.normal(size=(9, 5))
    near, cosine = nearest(features, among, 4)
    for i, f in enumerate(features):
        all_ = among @ f / np.linalg.norm(among, axis=1) / np.linalg.norm(f)
        np.testing.assert_array_equal(near[i], np.argsort(-all_)[:4])
        np.testing.assert_allclose(cosine[i], np.sort(all_)[::-1][:4])


def test_features_are_what_the_last_dense_layer_takes():
    model = dense(4, 3)
    seen = subject_of(model, X).features(X)
    np.testing.assert_allclose(seen, model[1](model[0](cr.asarray(X))).numpy())
    conv = nn.Sequential(nn.Conv1d(1, 2, 4), nn.Flatten())
    assert subject_of(conv, X[:, None]).features(X[:, None]).shape == (70, 2)


READINGS = [
    (3, "Linear", None, "logits"),
    (3, "Softmax", None, "probabilities"),
    (3, "Linear", [0, 2], "logits"),
    (3, "Linear", [0.0, 2.0], "logits"),
    (3, "Linear", [0.5, 2.0], "values"),
    (3, "Linear", [0, 9], "logits"),  # a label that is no class is an error elsewhere
    (1, "Linear", None, "values"),
    (1, "Linear", [0, 1], "log-odds"),
    (1, "Linear", [0.0, 1.0], "log-odds"),
    (1, "Linear", ["no", "yes"], "log-odds"),
    (1, "Linear", [3, 17], "values"),
    (1, "Sigmoid", [0, 1], "probabilities"),
]


@pytest.mark.parametrize(("width", "last", "y", "expected"), READINGS)
def test_what_outputs_are(width, last, y, expected):
    outputs = np.full((2, width), 2.0)
    assert reading_of(outputs, last, y) == expected
