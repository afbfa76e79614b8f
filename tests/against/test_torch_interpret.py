"""`interpret` of a PyTorch module says what it says of the same network of ours."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from chainrule.lens.interpret.interpret import interpret


def cloud(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return x, (x[:, 0] - x[:, 1] + rng.normal(size=n) > 0).astype(int)


@pytest.fixture(scope="module")
def networks():
    cr.seed(0)
    ours = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))
    cr.fit(ours, cloud(400, 0), loss=nn.cross_entropy, epochs=15, batch_size=32, seed=0)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2)
    )
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs.train()


def test_both_give_the_same(networks):
    x, given = cloud(6, 2)[0], {"calibration": cloud(400, 1), "training": cloud(400, 0)}
    ours, theirs = (interpret(model, x, detail=6, posterior="none", **given) for model in networks)
    assert theirs.calibration.test.ece == pytest.approx(ours.calibration.test.ece, abs=1e-5)
    assert theirs.calibration.nll == pytest.approx(ours.calibration.nll, abs=1e-5)
    assert theirs.about["framework"] == "torch"
    for a, b in zip(ours.rows, theirs.rows, strict=True):
        assert (b.answer, b.answers, b.worth.rows) == (a.answer, a.answers, a.worth.rows)
        assert b.probability == pytest.approx(a.probability, abs=1e-5)
        assert b.calibrated == pytest.approx(a.calibrated, abs=1e-4)
        assert [s.column for s in b.why.shares] == [s.column for s in a.why.shares]
        for s, t in zip(a.why.shares, b.why.shares, strict=True):
            assert t.amount == pytest.approx(s.amount, abs=1e-4)
        assert [n.row for n in b.neighbours] == [n.row for n in a.neighbours]


def test_the_module_is_left_as_it_was(networks):
    _, model = networks
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    found = interpret(model, cloud(2, 2)[0], calibration=cloud(400, 1), training=cloud(400, 0))
    assert found[0].why is not None
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in model.parameters())
