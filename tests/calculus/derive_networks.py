"""Rows of the table: activations, layers, attention, and the steps of optimisers."""

import math

import numpy as np
from numpy.linalg import norm
from scipy import special
from scipy.stats import norm as gaussian

import chainrule as cr
from tests.calculus.derive_drawing import (
    Row,
    labels,
    normal,
    off_zero,
    one_hot,
    positive,
    sigmoid,
    softmax,
    unit,
)

_x = off_zero()
_n, _i, _o = 5, 3, 2

ACTIVATIONS = [
    Row("σ(x)", "Bishop 2006, eq. 4.88", lambda x: cr.sigmoid(x), (_x,), "x", "σ(x)(1 − σ(x))",
        lambda x: sigmoid(x) * (1 - sigmoid(x))),
    Row("1/(1 + exp(−x))", "Bishop 2006, eq. 4.88", lambda x: 1 / (1 + cr.exp(-x)), (_x,), "x",
        "exp(−x)/(1 + exp(−x))²", lambda x: sigmoid(x) * (1 - sigmoid(x))),
    Row("tanh(x)", "Goodfellow et al. 2016, §6.3.2", lambda x: cr.tanh(x), (_x,), "x",
        "1 − tanh(x)²", lambda x: 1 / np.cosh(x) ** 2),
    Row("softplus(x)", "Goodfellow et al. 2016, eq. 3.34", lambda x: cr.softplus(x), (_x,), "x",
        "σ(x)", sigmoid),
    Row("log σ(x)", "Goodfellow et al. 2016, eq. 3.35", lambda x: cr.log_sigmoid(x), (_x,), "x",
        "σ(−x)", lambda x: sigmoid(-x)),
    Row("x σ(x)", "Elfwing et al. 2017, arXiv:1702.03118, eq. 4", lambda x: cr.silu(x), (_x,), "x",
        "σ(x)(1 + x(1 − σ(x)))", lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    Row("x Φ(x)", "Hendrycks and Gimpel 2016, arXiv:1606.08415", lambda x: cr.gelu(x), (_x,), "x",
        "x exp(−x²/2)/√(2π) + Φ(x)", lambda x: gaussian.cdf(x) + x * gaussian.pdf(x),
        book="Φ(x) + xφ(x)"),
    Row("relu(x), 0 at 0", "Goodfellow et al. 2016, §6.3.1", lambda x: cr.relu(x), (_x,), "x",
        "[x > 0]", lambda x: float(x > 0)),
    Row("leaky relu(x)", "Maas et al. 2013", lambda x: cr.leaky_relu(x, 0.1), (_x,), "x",
        "[x > 0] + 0.1 [x ≤ 0]", lambda x: 1.0 if x > 0 else 0.1,
        book="where(x > 0, 1, 0.1)"),
    Row("elu(x)", "Clevert et al. 2015, arXiv:1511.07289", lambda x: cr.elu(x), (_x,), "x",
        "exp(x) [x ≤ 0] + [x > 0]", lambda x: 1.0 if x > 0 else math.exp(x),
        book="where(x > 0, 1, exp(x))"),
    Row("erf(x)", "Abramowitz and Stegun 1964, eq. 7.1.19", lambda x: cr.special.erf(x), (_x,),
        "x", "2exp(−x²)/√π", lambda x: 2 * math.exp(-(x**2)) / math.sqrt(math.pi)),
    Row("log Γ(x)", "Abramowitz and Stegun 1964, eq. 6.3.1", lambda x: cr.special.gammaln(x),
        (positive(),), "x", "ψ(x)", special.digamma),
    Row("x log x", "Cover and Thomas 2006, ch. 2", lambda x: x * cr.log(x), (positive(),), "x",
        "1 + log(x)", lambda x: np.log(x) + 1,
        book="log(x) + 1"),
    Row("sin(x²)", "Parr and Howard 2018, §4.5.1", lambda x: cr.sin(x**2), (_x,), "x",
        "2xcos(x²)", lambda x: 2 * x * np.cos(x**2)),
    Row("tanh(x), the Jacobian", "Parr and Howard 2018, §4.2", lambda x: cr.tanh(x), (normal(4),),
        "x", "diag(1 − tanh(x)²)", lambda x: np.diag(1 / np.cosh(x) ** 2)),
    Row("w ⊙ x, the Jacobian", "Parr and Howard 2018, §4.2", lambda x, w: w * x,
        (normal(4), normal(4)), "x", "diag(w)", lambda x, w: np.diag(w)),
    Row("x + z𝟏, in z", "Parr and Howard 2018, §4.3", lambda z, x: x + z, (normal(), normal(4)),
        "z", "𝟏", lambda z, x: np.ones(4)),
]  # fmt: skip

_layer = (normal(_n, _i), normal(_o, _i), normal(_o), normal(_n, _o))
_deep = (normal(4, _i), normal(_o, 4), normal(_n, _i), normal(_n, _o))


def _hidden(V, W, X, Y):
    return np.tanh(X @ V.T)


LAYERS = [
    Row("Σ δ ⊙ (xWᵀ + b), in W", "Goodfellow et al. 2016, eq. 6.52",
        lambda x, W, b, δ: (δ * cr.linear(x, W, b)).sum(), _layer, "W", "δᵀx",
        lambda x, W, b, δ: δ.T @ x,
        rules=("a factor 1",)),
    Row("Σ δ ⊙ (xWᵀ + b), in x", "Goodfellow et al. 2016, eq. 6.52",
        lambda x, W, b, δ: (δ * cr.linear(x, W, b)).sum(), _layer, "x", "δW",
        lambda x, W, b, δ: δ @ W),
    Row("Σ δ ⊙ (xWᵀ + b), in b", "Goodfellow et al. 2016, algorithm 6.4",
        lambda x, W, b, δ: (δ * cr.linear(x, W, b)).sum(), _layer, "b", "δᵀ𝟏",
        lambda x, W, b, δ: δ.sum(0)),
    Row("½‖XWᵀ + b − Y‖², in W", "Bishop 2006, eq. 5.53",
        lambda W, b, X, Y: 0.5 * ((cr.linear(X, W, b) - Y) ** 2).sum(),
        (normal(_o, _i), normal(_o), normal(_n, _i), normal(_n, _o)), "W",
        "(XWᵀ + 𝟏bᵀ − Y)ᵀX", lambda W, b, X, Y: (X @ W.T + b - Y).T @ X),
    Row("½‖tanh(XVᵀ)Wᵀ − Y‖², in W", "Bishop 2006, eq. 5.67",
        lambda V, W, X, Y: 0.5 * ((cr.tanh(X @ V.mT) @ W.mT - Y) ** 2).sum(), _deep, "W",
        "(hWᵀ − Y)ᵀh where h = tanh(XVᵀ)",
        lambda V, W, X, Y: (_hidden(V, W, X, Y) @ W.T - Y).T @ _hidden(V, W, X, Y),
        book="(HWᵀ − Y)ᵀH where H = tanh(XVᵀ)"),
    Row("½‖tanh(XVᵀ)Wᵀ − Y‖², in V", "Bishop 2006, eq. 5.66 and 5.67",
        lambda V, W, X, Y: 0.5 * ((cr.tanh(X @ V.mT) @ W.mT - Y) ** 2).sum(), _deep, "V",
        "((1 − h²) ⊙ (hWᵀ − Y)W)ᵀX where h = tanh(XVᵀ)",
        lambda V, W, X, Y: (
            ((_hidden(V, W, X, Y) @ W.T - Y) @ W * (1 - _hidden(V, W, X, Y) ** 2)).T @ X),
        book="((HWᵀ − Y)W ⊙ (1 − H²))ᵀX where H = tanh(XVᵀ)"),
    Row("½‖relu(XVᵀ)Wᵀ − Y‖², in V", "Goodfellow et al. 2016, §6.5.7",
        lambda V, W, X, Y: 0.5 * ((cr.relu(X @ V.mT) @ W.mT - Y) ** 2).sum(), _deep, "V",
        "([XVᵀ > 0] ⊙ (relu(XVᵀ) Wᵀ − Y)W)ᵀX",
        lambda V, W, X, Y: (
            ((np.maximum(X @ V.T, 0) @ W.T - Y) @ W * (X @ V.T > 0)).T @ X),
        book="((relu(XVᵀ)Wᵀ − Y)W ⊙ [XVᵀ > 0])ᵀX"),
    Row("tanh(Wx + Uh), in h", "Goodfellow et al. 2016, §10.2.2",
        lambda h, W, U, x: cr.tanh(W @ x + U @ h),
        (normal(4), normal(4, 3), normal(4, 4), normal(3)), "h",
        "diag(1 − tanh(Uh + Wx)²) U",
        lambda h, W, U, x: np.diag(1 / np.cosh(W @ x + U @ h) ** 2) @ U,
        book="diag(1 − tanh(Wx + Uh)²)U"),
    Row("x + tanh(Wx), the Jacobian", "He et al. 2016, arXiv:1603.05027, eq. 5",
        lambda x, W: x + cr.tanh(W @ x), (normal(4), normal(4, 4)), "x",
        "I + diag(1 − tanh(Wx)²)W",
        lambda x, W: np.eye(4) + np.diag(1 / np.cosh(W @ x) ** 2) @ W),
    Row("f ⊙ c + i ⊙ g, in c", "Hochreiter and Schmidhuber 1997", lambda c, f, i, g: f * c + i * g,
        (normal(4),) * 4, "c", "diag(f)", lambda c, f, i, g: np.diag(f)),
    Row("Σ δ ⊙ E[k], in E", "Mikolov et al. 2013, arXiv:1301.3781",
        lambda E, k, δ: (δ * cr.take(E, k, axis=0)).sum(),
        (normal(4, 3), labels(_n, 4), normal(_n, 3)), "E", "onehot(k)ᵀδ",
        lambda E, k, δ: one_hot(k, 4).T @ δ),
]  # fmt: skip


def _standard(x: np.ndarray, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    s = np.sqrt(x.var(-1, keepdims=True) + eps)
    return (x - x.mean(-1, keepdims=True)) / s, s


def _layer_norm_back(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    y, s = _standard(x)
    return (h - h.mean(-1, keepdims=True) - y * (h * y).mean(-1, keepdims=True)) / s


NORMALISATION = [
    Row("x/‖x‖, the Jacobian", "Salimans and Kingma 2016, arXiv:1602.07868, eq. 4",
        lambda x: x / cr.linalg.vector_norm(x), (normal(4),), "x", "(I − xxᵀ/‖x‖²)/‖x‖",
        lambda x: (np.eye(4) - np.outer(x, x) / (x @ x)) / norm(x)),
    Row("layer norm, the Jacobian", "Xu et al. 2019, arXiv:1911.07013, eq. 3",
        lambda x: cr.layer_norm(x, 4), (normal(4),), "x",
        "(I − uuᵀ/(nr) − 𝟏 𝟏ᵀ/n)/√r where u = x − (𝟏ᵀx)𝟏/n, r = ‖u‖²/n + 1e-05, n = 4",
        lambda x: (np.eye(4) - 0.25 - np.outer(_standard(x)[0], _standard(x)[0]) / 4)
        / _standard(x)[1],
        book="(I − 𝟏𝟏ᵀ/n − yyᵀ/n)/s where y = layer_norm(x), s = √(var(x) + 1e-05)",
        rules=("deviations from the mean add up to 0",)),
    Row("Σ δ ⊙ layer norm(x)", "Ba et al. 2016, arXiv:1607.06450",
        lambda x, δ: (δ * cr.layer_norm(x, 4)).sum(), (normal(4), normal(4)), "x",
        "(δ − (uᵀδ)u/(nr) − (𝟏ᵀδ)𝟏/n)/√r where u = x − (𝟏ᵀx)𝟏/n, r = ‖u‖²/n + 1e-05, n = 4",
        lambda x, δ: _layer_norm_back(x, δ),
        book="(δ − mean(δ) − y mean(δ ⊙ y))/s where y = layer_norm(x), s = √(var(x) + 1e-05)"),
    Row("layer norm, in the gain", "Ba et al. 2016, arXiv:1607.06450, eq. 4",
        lambda g, b, X, δ: (δ * cr.layer_norm(X, 4, g, b)).sum(),
        (normal(4), normal(4), normal(_n, 4), normal(_n, 4)), "g",
        "(U ⊙ δ)ᵀ(1 / √(U² 𝟏/m + 1e-05)) where U = X − X𝟏 𝟏ᵀ/m, m = 4",
        lambda g, b, X, δ: (δ * _standard(X)[0]).sum(0),
        book="(δ ⊙ layer_norm(X))ᵀ𝟏"),
    Row("layer norm, in the shift", "Ba et al. 2016, arXiv:1607.06450, eq. 4",
        lambda b, g, X, δ: (δ * cr.layer_norm(X, 4, g, b)).sum(),
        (normal(4), normal(4), normal(_n, 4), normal(_n, 4)), "b",
        "δᵀ𝟏", lambda b, g, X, δ: δ.sum(0)),
    Row("RMS norm, the Jacobian", "Zhang and Sennrich 2019, arXiv:1910.07467, eq. 8",
        lambda x: cr.rms_norm(x, 4, eps=1e-5), (normal(4),), "x",
        "(I − xxᵀ/(nu))/√u where u = ‖x‖²/n + 1e-05, n = 4",
        lambda x: (np.eye(4) - np.outer(x, x) / (4 * ((x @ x) / 4 + 1e-5)))
        / np.sqrt((x @ x) / 4 + 1e-5),
        book="(I − yyᵀ/n)/s where y = rms_norm(x), s = √(mean(x²) + 1e-05)"),
    Row("Σ δ ⊙ batch norm(X), in X", "Ioffe and Szegedy 2015, arXiv:1502.03167, §3",
        lambda X, δ: (δ * cr.batch_norm(X)).sum(), (normal(_n, 3), normal(_n, 3)), "X",
        "(δ − 𝟏 𝟏ᵀδ/n) diag(1 / √u) − U diag((U ⊙ δ)ᵀ𝟏 / u^(1.5))/n "
        "where U = X − 𝟏 𝟏ᵀX/n, u = (U²)ᵀ𝟏/n + 1e-05, n = 5",
        lambda X, δ: _layer_norm_back(X.T, δ.T).T,
        book="(δ − mean(δ) − Y mean(δ ⊙ Y))/s where Y = batch_norm(X), s = √(var(X) + 1e-05)"),
    Row("Σ δ ⊙ batch norm(X), in the gain", "Ioffe and Szegedy 2015, arXiv:1502.03167, §3",
        lambda γ, β, X, δ: (δ * cr.batch_norm(X, None, None, γ, β)).sum(),
        (normal(3), normal(3), normal(_n, 3), normal(_n, 3)), "γ",
        "(U ⊙ δ)ᵀ𝟏 / √((U²)ᵀ𝟏/n + 1e-05) where U = X − 𝟏 𝟏ᵀX/n, n = 5",
        lambda γ, β, X, δ: (δ * _standard(X.T)[0].T).sum(0), book="(δ ⊙ batch_norm(X))ᵀ𝟏"),
]  # fmt: skip

_attention = (normal(4, 3), normal(5, 3), normal(5, 2), normal(4, 2))


def _weights(Q: np.ndarray, K: np.ndarray) -> np.ndarray:
    return softmax(Q @ K.T / math.sqrt(3))


def _scores_back(Q: np.ndarray, K: np.ndarray, V: np.ndarray, δ: np.ndarray) -> np.ndarray:
    P, G = _weights(Q, K), δ @ V.T
    return P * (G - (P * G).sum(-1, keepdims=True)) / math.sqrt(3)


def _attend(Q, K, V, δ):
    return (δ * cr.scaled_dot_product_attention(Q, K, V)).sum()


ATTENTION = [
    Row("Σ δ ⊙ QKᵀ/√d, in Q", "Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
        lambda Q, K, δ: (δ * (Q @ K.mT) / math.sqrt(3)).sum(),
        (normal(4, 3), normal(5, 3), normal(4, 5)), "Q", "δK/√3",
        lambda Q, K, δ: δ @ K / math.sqrt(3)),
    Row("Σ δ ⊙ QKᵀ/√d, in K", "Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
        lambda Q, K, δ: (δ * (Q @ K.mT) / math.sqrt(3)).sum(),
        (normal(4, 3), normal(5, 3), normal(4, 5)), "K", "δᵀQ/√3",
        lambda Q, K, δ: δ.T @ Q / math.sqrt(3)),
    Row("Σ δ ⊙ attention, in V", "Dao et al. 2022, arXiv:2205.14135, §B.2", _attend, _attention,
        "V", "pᵀδ where p = softmax(QKᵀ/√3)", lambda Q, K, V, δ: _weights(Q, K).T @ δ,
        book="softmax(QKᵀ/√3)ᵀδ"),
    Row("Σ δ ⊙ attention, in Q", "Dao et al. 2022, arXiv:2205.14135, §B.2", _attend, _attention,
        "Q", "(p ⊙ (δVᵀ − (p ⊙ δVᵀ)𝟏 𝟏ᵀ))K/√3 where p = softmax(QKᵀ/√3)",
        lambda Q, K, V, δ: _scores_back(Q, K, V, δ) @ K,
        book="(P ⊙ (G − rowsum(P ⊙ G)))K/√d, P = softmax(QKᵀ/√d), G = δVᵀ"),
    Row("Σ δ ⊙ attention, in K", "Dao et al. 2022, arXiv:2205.14135, §B.2", _attend, _attention,
        "K", "(p ⊙ (δVᵀ − (p ⊙ δVᵀ)𝟏 𝟏ᵀ))ᵀQ/√3 where p = softmax(QKᵀ/√3)",
        lambda Q, K, V, δ: _scores_back(Q, K, V, δ).T @ Q,
        book="(P ⊙ (G − rowsum(P ⊙ G)))ᵀQ/√d, P = softmax(QKᵀ/√d), G = δVᵀ"),
]  # fmt: skip


def _convolve_back(x: np.ndarray, w: np.ndarray, δ: np.ndarray) -> np.ndarray:
    out = np.zeros_like(w)
    for o, c, k in np.ndindex(*w.shape):
        out[o, c, k] = sum(δ[n, o, t] * x[n, c, t + k]
                           for n in range(len(x)) for t in range(δ.shape[2]))  # fmt: skip
    return out


CONVOLUTION = [
    Row("Σ δ ⊙ (x ∗ w), in w", "Goodfellow et al. 2016, eq. 9.11",
        lambda w, x, δ: (δ * cr.conv1d(x, w)).sum(),
        (normal(2, 3, 2), normal(2, 3, 5), normal(2, 2, 4)), "w",
        "∂f/∂w[i, j, k] = a1[i, j, 0, k] where a1 = convolve_weight(𝟏 xᵀ, 𝟏 δᵀ; kernel=(1, 2); "
        "stride=(1, 1); padding=((0, 0), (0, 0)); dilation=(1, 1); groups=1)",
        lambda w, x, δ: _convolve_back(x, w, δ), book="Σ_n Σ_t δ[n, o, t] · x[n, c, t + k]",
        textbook=False),
    Row("Σ δ ⊙ patches · w, in w", "Goodfellow et al. 2016, eq. 9.11, x[n, c, t + k] as a patch",
        lambda w, P, δ: (δ[:, :, :, None, None] * P[:, None] * w[:, None]).sum(),
        (normal(2, 3, 2), normal(2, 4, 3, 2), normal(2, 2, 4)), "w",
        "∂f/∂w[i, j, k] = Σ_{n, m} P[n, m, j, k] · δ[n, i, m]",
        lambda w, P, δ: np.einsum("not,ntck->ock", δ, P),
        book="Σ_n Σ_t δ[n, o, t] · P[n, t, c, k]"),
]  # fmt: skip


def _adam(g, w, m, v, α, a, b, p, q, ε):
    """Kingma and Ba 2015, algorithm 1, of one weight; p and q are aᵗ and bᵗ."""
    first, second = (a * m + (1 - a) * g) / (1 - p), (b * v + (1 - b) * g**2) / (1 - q)
    return w - α * first / (cr.sqrt(second) + ε)


def _adam_back(g, w, m, v, α, a, b, p, q, ε):
    first = (a * m + (1 - a) * g) / (1 - p)
    s = np.sqrt((b * v + (1 - b) * g**2) / (1 - q))
    by_first = -α / (s + ε)
    by_s = α * first / (s + ε) ** 2
    return by_first * (1 - a) / (1 - p) + by_s * (1 - b) * g / (1 - q) / s


_adam_draw = (off_zero(), normal(), off_zero(), *(positive(),) * 2, *(unit(),) * 4, positive())

STEPS = [
    Row("½λ‖w‖²", "Goodfellow et al. 2016, eq. 7.3", lambda w, λ: 0.5 * λ * (w**2).sum(),
        (normal(4), positive()), "w", "λw", lambda w, λ: λ * w),
    Row("λ Σᵢ |wᵢ|", "Goodfellow et al. 2016, eq. 7.20", lambda w, λ: λ * cr.abs(w).sum(),
        (off_zero(4), positive()), "w", "λ sign(w)", lambda w, λ: λ * np.sign(w)),
    Row("(1 − αλ)w − αg, in w", "Loshchilov and Hutter 2019, arXiv:1711.05101, eq. 1",
        lambda w, g, α, λ: (1 - α * λ) * w - α * g, (normal(4), normal(4), unit(), unit()), "w",
        "(1 − αλ)I", lambda w, g, α, λ: (1 - α * λ) * np.eye(4)),
    Row("w − α(μv + g), in g", "Sutskever et al. 2013, eq. 1 and 2",
        lambda g, w, v, α, μ: w - α * (μ * v + g), (*(normal(4),) * 3, unit(), unit()), "g",
        "−αI", lambda g, w, v, α, μ: -α * np.eye(4)),
    Row("w − α(μv + g), in v", "Sutskever et al. 2013, eq. 1 and 2",
        lambda v, w, g, α, μ: w - α * (μ * v + g), (*(normal(4),) * 3, unit(), unit()), "v",
        "−αμI", lambda v, w, g, α, μ: -α * μ * np.eye(4)),
    Row("Adam's first step, in g", "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1",
        lambda g, w, α, ε: w - α * g / (cr.sqrt(g**2) + ε),
        (off_zero(), normal(), unit(), unit()), "g", "−αε/(|g| + ε)²",
        lambda g, w, α, ε: -α * ε / (abs(g) + ε) ** 2),
    Row("Adam's step, in w", "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1",
        lambda w, g, m, v, α, a, b, p, q, ε: _adam(g, w, m, v, α, a, b, p, q, ε),
        (_adam_draw[1], _adam_draw[0], *_adam_draw[2:]), "w", "1",
        lambda w, *rest: np.ones(())),
    Row("Adam's step, in m", "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1",
        lambda m, g, w, v, α, a, b, p, q, ε: _adam(g, w, m, v, α, a, b, p, q, ε),
        (_adam_draw[2], *_adam_draw[:2], *_adam_draw[3:]), "m",
        "−aα/((1 − p)(√(((1 − b)g² + bv)/(1 − q)) + ε))",
        lambda m, g, w, v, α, a, b, p, q, ε: -α * a / (1 - p)
        / (np.sqrt((b * v + (1 - b) * g**2) / (1 - q)) + ε),
        book="−αa/((1 − p)(√v̂ + ε))"),
    Row("Adam's step, in g", "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1", _adam, _adam_draw,
        "g", "α(g(1 − b)(g(1 − a) + am)/(r(1 − q)√u) + a − 1)/(r(1 − p)) "
        "where u = ((1 − b)g² + bv)/(1 − q), r = √u + ε", _adam_back,
        book="α m̂ (1 − b)g/((1 − q)√v̂(√v̂ + ε)²) − α(1 − a)/((1 − p)(√v̂ + ε))"),
]  # fmt: skip

ROWS = [*ACTIVATIONS, *LAYERS, *NORMALISATION, *ATTENTION, *CONVOLUTION, *STEPS]
