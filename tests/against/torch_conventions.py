"""Where samples are prepared, or results read, so that both libraries mean the same.

`PREPARED` changes a sample on both sides before it is run, `RESULTS` what comes out of it:
functions of the library (`torch` or `cr`) first, in what the two have in common.
"""

from __future__ import annotations

from typing import Any

import scipy.special


def hermitian(lib: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """PyTorch reads one triangle of what it is given; ours refuses what is not Hermitian."""
    return (x + x.mT.conj(), *args), kwargs


def positive_definite(lib: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    return ((x + x.mT.conj()) / 2, *args), kwargs


def triangular_factor(lib: Any, b: Any, factor: Any, upper: bool = False) -> Any:
    """The gradient of the half that is not read is 0 for us, and PyTorch's is of a full matrix."""
    return (b, lib.triu(factor) if upper else lib.tril(factor)), {"upper": upper}


def triangle(lib: Any, factor: Any, upper: bool = False) -> Any:
    return (lib.triu(factor) if upper else lib.tril(factor),), {"upper": upper}


def signs(at: int) -> Any:
    """Targets that are 1 or −1: ours refuses others."""

    def prepare(lib: Any, *args: Any, **kwargs: Any) -> Any:
        target = args[at]
        signed = lib.sign(target) + (target == 0)
        return (*args[:at], signed, *args[at + 1 :]), kwargs

    return prepare


def log_probabilities(lib: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    return (x.log_softmax(-1), *args), kwargs


def subspaces(lib: Any, usv: Any) -> Any:
    """Singular vectors have a free phase, and those that complete a basis are any that do."""
    u, s, vh = usv
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return [s, lib.abs(u), lib.abs(vh), u @ vh]


def adjoint_last(lib: Any, usv: Any) -> Any:
    u, s, v = usv
    return subspaces(lib, (u, s, v.mT.conj()))


def up_to_phase(lib: Any, pair: Any) -> Any:
    return [pair[0], lib.abs(pair[1])]


def weights_wide(lib: Any, x: Any, *, aweights: Any = None, **kwargs: Any) -> Any:
    """PyTorch adds up float32 weights in float32, whatever the observations are."""
    wide = None if aweights is None else aweights * (0 * lib.real(x.reshape(-1)[:1]) + 1)
    return (x,), {"aweights": wide, **kwargs}


def undefined(lib: Any, result: Any) -> Any:
    return lib.zeros_like(result)


def solution(lib: Any, result: Any) -> Any:
    """Of residuals, rank and singular values the driver decides which PyTorch gives."""
    return result[0]


PREPARED = {
    "cov": weights_wide,
    **dict.fromkeys(("linalg.eigh", "linalg.eigvalsh", "linalg.pinv.hermitian"), hermitian),
    "linalg.matrix_rank.hermitian": hermitian,
    **dict.fromkeys(("cholesky", "linalg.cholesky", "linalg.cholesky_ex"), positive_definite),
    "cholesky_solve": triangular_factor,
    "cholesky_inverse": triangle,
    "nn.functional.margin_ranking_loss": signs(2),
    "nn.functional.hinge_embedding_loss": signs(1),
    "nn.functional.ctc_loss": log_probabilities,
}  # fmt: skip


def in_single(lib: Any, result: Any) -> Any:
    """NumPy, in which results are compared, has no bfloat16 of its own."""
    return result + lib.zeros(tuple(result.shape), dtype=lib.float32)


RESULTS = {
    "bfloat16": in_single,
    "linalg.svd": subspaces,
    "svd": adjoint_last,
    "linalg.eigh": up_to_phase,
    "linalg.eig": up_to_phase,
    "linalg.lstsq": solution,
    "linalg.lstsq.grad_oriented": solution,
}

# Operations of real numbers here, which PyTorch has for complex ones too.
REAL_ONLY = {
    "logaddexp", "logcumsumexp", "sinc", "nn.functional.softsign",
}  # fmt: skip

# PyTorch's float64 values are exact to about 1e-6 here: SciPy decides, and PyTorch is near.
TRUTH: dict[str, Any] = {
    "special.bessel_j0": scipy.special.j0,
    "special.bessel_y1": scipy.special.y1,
}

# Not compared in float32, where rounding alone makes the two differ: (reason).
ROUGH = {
    "logcumsumexp": "PyTorch's gradient is 3e-3 away from its float64 one, ours 3e-7",
    "matrix_exp": "both are within 3e-6 of the largest element, of which others are 1e-6",
    "grid_sampler_3d": "a point within rounding of an edge is on either side of it",
}

FORWARD: dict[str, str] = {
    f"nn.functional.max_unpool{n}d": "indices repeat, which the variant `.grad` has not"
    for n in (1, 2, 3)
}
