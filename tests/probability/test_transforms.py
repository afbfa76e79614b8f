"""Transforms: they lead back, and their Jacobian is the one that differentiation finds."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.probability import constraints
from tests.probability.families import f64
from tests.probability.test_distributions import agree

rng = np.random.default_rng(0)
REALS = rng.normal(size=6) * 1.5
TRANSFORMS = [
    (prob.IdentityTransform(), REALS),
    (prob.AffineTransform(1.0, -2.5), REALS),
    (prob.AffineTransform(f64(1.0), f64(0.3)), REALS),
    (prob.ExpTransform(), REALS),
    (prob.SoftplusTransform(), REALS),
    (prob.SigmoidTransform(), REALS),
    (prob.TanhTransform(), REALS),
    (prob.PowerTransform(2.5), np.exp(REALS)),
    (prob.PowerTransform(-1.0), np.exp(REALS)),
    (prob.ExpTransform().inv, np.exp(REALS)),
    (prob.ComposeTransform([prob.AffineTransform(0.5, 2.0), prob.TanhTransform()]), REALS / 4),
    (prob.IndependentTransform(prob.ExpTransform(), 1), REALS.reshape(2, 3)),
    (prob.StickBreakingTransform(), REALS.reshape(2, 3)),
    (prob.LowerCholeskyTransform(), REALS),
    (prob.LowerCholeskyTransform(), rng.normal(size=(2, 3))),
    (prob.CorrCholeskyTransform(), REALS),
    (prob.CorrCholeskyTransform(), rng.normal(size=(2, 3))),
    (prob.biject_to(constraints.positive_definite), rng.normal(size=(2, 3))),
    (prob.biject_to(constraints.interval(-1.0, 3.0)), REALS),
    (prob.biject_to(constraints.greater_than(2.0)), REALS),
    (prob.biject_to(constraints.simplex), REALS.reshape(2, 3)),
    (
        prob.ComposeTransform([prob.StickBreakingTransform(), prob.PowerTransform(2.0)]),
        REALS.reshape(2, 3),
    ),
]


@pytest.mark.parametrize(("transform", "x"), TRANSFORMS, ids=lambda v: repr(v)[:40])
def test_there_and_back(transform, x):
    y = transform(x)
    assert y.shape == transform.forward_shape(x.shape)
    assert transform.inverse_shape(y.shape) == x.shape
    agree(transform.inv(y), x, 1e-8)
    assert transform.codomain.contains(y).numpy().all()


def free(y, kind):
    """The elements of a value that move freely, from which the others follow."""
    if isinstance(kind, constraints.Simplex):
        return y[..., :-1]
    if isinstance(kind, constraints.CorrelationCholesky):
        rows, columns = np.tril_indices(y.shape[-1], -1)
    elif y.ndim >= 2 and kind.event_dim == 2:
        rows, columns = np.tril_indices(y.shape[-1])
    else:
        return y
    return y[..., cr.asarray(rows), cr.asarray(columns)]


@pytest.mark.parametrize(("transform", "x"), TRANSFORMS, ids=lambda v: repr(v)[:40])
def test_jacobian_is_what_differentiation_finds(transform, x):
    if "StickBreaking" in repr(transform) and "Compose" in repr(transform):
        return  # its values have no free elements of their own
    axes = transform.domain_dim
    found = transform.log_abs_det_jacobian(x, transform(x))
    events = x.reshape(-1, *x.shape[x.ndim - axes :])
    wanted = []
    for event in events:
        n = event.size
        j = cr.jacobian(lambda e: free(transform(e), transform.codomain).reshape(-1))(
            cr.asarray(event)
        )
        wanted.append(np.linalg.slogdet(j.numpy().reshape(n, n))[1])
    agree(found, np.reshape(wanted, x.shape[: x.ndim - axes]), 1e-9)


def test_transform_to_is_kind_to_optimisers():
    assert isinstance(prob.transform_to(constraints.positive), prob.SoftplusTransform)
    assert isinstance(prob.transform_to(constraints.simplex), prob.SoftmaxTransform)
    agree(prob.transform_to(constraints.simplex)(f64(0.0, 0.0)), [0.5, 0.5])
    with pytest.raises(DTypeError, match="no smooth way"):
        prob.biject_to(constraints.nonnegative_integer)
    with pytest.raises(DataError, match="not one-to-one"):
        prob.SoftmaxTransform().log_abs_det_jacobian(f64(0, 1), f64(0.5, 0.5))
    with pytest.raises(ShapeError, match="do not fill a triangle"):
        prob.LowerCholeskyTransform()(f64(1, 2))


def test_far_out_nothing_overflows():
    x = f64(-800.0, 800.0)
    for transform in (prob.SoftplusTransform(), prob.SigmoidTransform(), prob.TanhTransform()):
        assert np.isfinite(transform(x).numpy()).all()
        assert np.isfinite(transform.log_abs_det_jacobian(x, transform(x)).numpy()).all()
