"""The deep measurements against NumPy, on networks for which the answer is known."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError
from chainrule.lens.diagnose import Diagnosis


def measured(model, data, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    found = cr.diagnose(model, data, optimizer=optimizer, epochs=2, budget=0, **options)
    return found.measure()


def test_a_line_has_the_curvature_and_kernel_of_its_inputs() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5)) * [1, 2, 3, 4, 5]
    y = x @ rng.normal(size=(5, 1))
    cr.seed(0)
    found = measured(nn.Linear(5, 1, bias=False), (x, y), loss=nn.mse_loss, validation=(x, y))
    # The mean square has the Hessian 2XᵀX/n, at whatever weights; the kernel is XXᵀ.
    values = np.linalg.eigvalsh(2 * x.T @ x / 64)
    for when in ("first", "last"):
        (value,) = found[f"top Hessian eigenvalue, {when} weights"]
        assert value.value == pytest.approx(values[-1], rel=1e-2)
        assert f"stable below {2 / values[-1]:.2g}"[:18] in value.means
    (condition,) = found["condition number of the tangent kernel"]
    assert condition.value == pytest.approx(values[-1] / values[0], rel=1e-2)


def test_layers_are_measured_as_numpy_does() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 6)), rng.integers(0, 3, 80)
    cr.seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    diagnosis = cr.diagnose(
        model, (x, y), loss=nn.cross_entropy, optimizer=optimizer, epochs=0, budget=0
    )
    found = diagnosis.measure()
    assert Diagnosis.from_dict(diagnosis.to_dict()).measurements == found
    weight = model[0].weight.numpy().astype(float)
    sigma = np.linalg.svd(weight, compute_uv=False)
    (rank, _) = found["stable rank of the weights"]
    assert rank.value == pytest.approx(np.sum(sigma**2) / sigma[0] ** 2)
    first = next(q for q in found["largest singular value of the Jacobian"] if q.where == "0")
    batch, _ = diagnosis.setup.batch(16)
    slopes = 1 - np.tanh(batch @ weight.T + model[0].bias.numpy()) ** 2
    largest = [np.linalg.norm(s[:, None] * weight, 2) for s in slopes[:8]]
    assert first.value == pytest.approx(np.mean(largest), rel=1e-4)


def test_what_does_not_suit_a_network_is_left_out_and_nothing_is_changed() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 1, 6, 6)), rng.integers(0, 2, 40)
    cr.seed(2)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                          nn.Linear(48, 2))  # fmt: skip
    before = {k: v.copy() for k, v in model.state_dict().items()}
    found = measured(model, (x, y), loss=nn.cross_entropy)
    assert found["dead units"]
    assert found["gradient noise scale, last weights"]
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    assert "dead units" in str(found)


def test_without_a_run_there_is_nothing_to_measure() -> None:
    with pytest.raises(ChainruleError, match="no run"):
        Diagnosis().measure()
