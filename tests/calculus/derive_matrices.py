"""Rows of the table: identities of matrix calculus.

MC is Petersen and Pedersen, The Matrix Cookbook, version of 15 November 2012, by equation.
"""

import numpy as np
from numpy.linalg import det, inv, norm

import chainrule as cr
from tests.calculus.derive_drawing import Row, definite, normal, off_zero, positive, regular

_x, _square = normal(4), normal(3, 3)

FORMS = [
    Row("aᵀx", "MC 69", lambda x, a: a @ x, (_x, _x), "x", "a", lambda x, a: a),
    Row(
        "aᵀXb", "MC 70", lambda X, a, b: a @ X @ b, (normal(4, 3), _x, normal(3)), "X",
        "abᵀ", lambda X, a, b: np.outer(a, b),
    ),
    Row(
        "aᵀXᵀb", "MC 71", lambda X, a, b: a @ X.mT @ b, (normal(3, 4), _x, normal(3)), "X",
        "baᵀ", lambda X, a, b: np.outer(b, a),
    ),
    Row(
        "aᵀXa", "MC 72", lambda X, a: a @ X @ a, (normal(4, 4), _x), "X",
        "aaᵀ", lambda X, a: np.outer(a, a),
    ),
    Row(
        "aᵀXᵀa", "MC 72", lambda X, a: a @ X.mT @ a, (normal(4, 4), _x), "X",
        "aaᵀ", lambda X, a: np.outer(a, a),
    ),
    Row(
        "bᵀXᵀXc", "MC 77", lambda X, b, c: b @ X.mT @ X @ c, (normal(4, 3), normal(3), normal(3)),
        "X", "X(bcᵀ + cbᵀ)", lambda X, b, c: X @ (np.outer(b, c) + np.outer(c, b)),
    ),
    Row(
        "(Bx + b)ᵀC(Dx + d)", "MC 78",
        lambda x, B, b, C, D, d: (B @ x + b) @ C @ (D @ x + d),
        (_x, normal(3, 4), normal(3), normal(3, 2), normal(2, 4), normal(2)), "x",
        "BᵀC(Dx + d) + DᵀCᵀ(Bx + b)",
        lambda x, B, b, C, D, d: B.T @ C @ (D @ x + d) + D.T @ C.T @ (B @ x + b),
    ),
    Row(
        "xᵀBx", "MC 81", lambda x, B: x @ B @ x, (_x, normal(4, 4)), "x",
        "(B + Bᵀ)x", lambda x, B: (B + B.T) @ x,
    ),
    Row(
        "bᵀXᵀDXc", "MC 82", lambda X, b, D, c: b @ X.mT @ D @ X @ c,
        (normal(4, 3), normal(3), normal(4, 4), normal(3)), "X",
        "DXcbᵀ + DᵀXbcᵀ",
        lambda X, b, D, c: D.T @ X @ np.outer(b, c) + D @ X @ np.outer(c, b),
        book="DᵀXbcᵀ + DXcbᵀ"),
    Row(
        "(Xb + c)ᵀD(Xb + c)", "MC 83", lambda X, b, c, D: (X @ b + c) @ D @ (X @ b + c),
        (normal(4, 3), normal(3), _x, normal(4, 4)), "X",
        "(D + Dᵀ)(Xb + c)bᵀ",
        lambda X, b, c, D: np.outer((D + D.T) @ (X @ b + c), b),
    ),
    Row(
        "xᵀAx + bᵀx", "MC 97", lambda x, A, b: x @ A @ x + b @ x, (_x, normal(4, 4), _x), "x",
        "(A + Aᵀ)x + b", lambda x, A, b: (A + A.T) @ x + b,
    ),
    Row(
        "xᵀAx + bᵀx, the Hessian", "MC 98", lambda x, A, b: x @ A @ x + b @ x,
        (_x, normal(4, 4), _x), "x", "A + Aᵀ", lambda x, A, b: A + A.T, order=2,
    ),
    Row("Ax, the Jacobian", "Magnus and Neudecker 2019, ch. 9", lambda x, A: A @ x,
        (_x, normal(3, 4)), "x", "A", lambda x, A: A),
]  # fmt: skip

NORMS = [
    Row("xᵀx", "MC 131", lambda x: x @ x, (_x,), "x", "2x", lambda x: 2 * x),
    Row("Σᵢ xᵢ²", "Parr and Howard 2018, §4.4", lambda x: (x**2).sum(), (_x,), "x", "2x",
        lambda x: 2 * x),
    Row("Σᵢ xᵢ", "Parr and Howard 2018, §4.4", lambda x: x.sum(), (_x,), "x", "𝟏", np.ones_like),
    Row(
        "‖x − a‖", "MC 129", lambda x, a: cr.linalg.vector_norm(x - a), (_x, _x), "x",
        "(x − a)/‖x − a‖", lambda x, a: (x - a) / norm(x - a),
    ),
    Row(
        "√((x − a)ᵀ(x − a))", "MC 129", lambda x, a: cr.sqrt((x - a) @ (x - a)), (_x, _x), "x",
        "(x − a)/‖x − a‖", lambda x, a: (x - a) / norm(x - a),
    ),
    Row(
        "(x − a)/‖x − a‖, the Jacobian", "MC 130",
        lambda x, a: (x - a) / cr.linalg.vector_norm(x - a), (_x, _x), "x",
        "(I − (x − a)(x − a)ᵀ/‖x − a‖²)/‖x − a‖",
        lambda x, a: np.eye(4) / norm(x - a) - np.outer(x - a, x - a) / norm(x - a) ** 3,
        book="I/‖x − a‖ − (x − a)(x − a)ᵀ/‖x − a‖³"),
    Row("‖X‖²", "MC 132", lambda X: (X**2).sum(), (normal(4, 3),), "X", "2X", lambda X: 2 * X),
    Row("‖X‖", "MC 132", lambda X: cr.sqrt((X * X).sum()), (normal(4, 3),), "X", "X/‖X‖",
        lambda X: X / norm(X)),
    Row("Σᵢ |xᵢ|", "Boyd and Vandenberghe 2004, §3.1.5", lambda x: cr.abs(x).sum(),
        (off_zero(4),), "x", "sign(x)", lambda x: np.sign(x)),
    Row(
        "‖Ax − b‖²", "Boyd and Vandenberghe 2004, §A.4.1",
        lambda x, A, b: ((A @ x - b) ** 2).sum(), (_x, normal(5, 4), normal(5)), "x",
        "2Aᵀ(Ax − b)", lambda x, A, b: 2 * A.T @ (A @ x - b),
    ),
    Row(
        "‖Ax − b‖², the Hessian", "Boyd and Vandenberghe 2004, §A.4.3",
        lambda x, A, b: ((A @ x - b) ** 2).sum(), (_x, normal(5, 4), normal(5)), "x",
        "2AᵀA", lambda x, A, b: 2 * A.T @ A, order=2,
    ),
    Row(
        "½‖Xw − y‖², the Hessian", "Bishop 2006, eq. 4.94",
        lambda w, X, y: 0.5 * ((X @ w - y) ** 2).sum(), (normal(3), normal(5, 3), normal(5)), "w",
        "XᵀX", lambda w, X, y: X.T @ X, order=2,
    ),
    Row(
        "½‖Xw − y‖² + ½λ‖w‖²", "Bishop 2006, eq. 3.27",
        lambda w, X, y, λ: 0.5 * ((X @ w - y) ** 2).sum() + 0.5 * λ * (w @ w),
        (normal(3), normal(5, 3), normal(5), positive()), "w",
        "Xᵀ(Xw − y) + λw", lambda w, X, y, λ: X.T @ (X @ w - y) + λ * w,
    ),
    Row(
        "Σᵢ sᵢ(Xw − y)ᵢ²", "Bishop 2006, exercise 3.3",
        lambda w, X, y, s: (s * (X @ w - y) ** 2).sum(),
        (normal(3), normal(5, 3), normal(5), positive(5)), "w",
        "2Xᵀ(s ⊙ (Xw − y))", lambda w, X, y, s: 2 * X.T @ (s * (X @ w - y)),
    ),
    Row(
        "‖X − UVᵀ‖²", "Koren, Bell and Volinsky 2009, eq. 2",
        lambda U, V, X: ((X - U @ V.mT) ** 2).sum(), (normal(4, 2), normal(5, 2), normal(4, 5)),
        "U", "−2(X − UVᵀ)V", lambda U, V, X: -2 * (X - U @ V.T) @ V,
    ),
    Row(
        "(x − μ)ᵀS⁻¹(x − μ)", "MC 86, S not taken as symmetric",
        lambda x, μ, S: (x - μ) @ cr.linalg.inv(S) @ (x - μ), (_x, _x, definite(4)), "x",
        "(S⁻¹ + S⁻ᵀ)(x − μ)", lambda x, μ, S: (inv(S) + inv(S).T) @ (x - μ),
    ),
    Row(
        "xᵀAx/xᵀx", "MC 96, A not taken as symmetric",
        lambda x, A: (x @ A @ x) / (x @ x), (_x, normal(4, 4)), "x",
        "((A + Aᵀ)x − 2 (xᵀAx)x/‖x‖²)/‖x‖²",
        lambda x, A: (A + A.T) @ x / (x @ x) - 2 * (x @ A @ x) * x / (x @ x) ** 2,
        book="(A + Aᵀ)x/xᵀx − 2(xᵀAx)x/(xᵀx)²"),
    Row(
        "aᵀb/(‖a‖‖b‖)", "Luo et al. 2018, arXiv:1702.05870",
        lambda a, b: (a @ b) / (cr.sqrt(a @ a) * cr.sqrt(b @ b)), (_x, _x), "a",
        "(b − (aᵀb)a/‖a‖²)/(‖a‖‖b‖)",
        lambda a, b: b / (norm(a) * norm(b)) - (a @ b) * a / (norm(a) ** 3 * norm(b)),
        book="b/(‖a‖‖b‖) − (aᵀb)a/(‖a‖³‖b‖)"),
]  # fmt: skip

TRACES = [
    Row("tr(X)", "MC 99", lambda X: cr.trace(X), (_square,), "X", "I", lambda X: np.eye(3)),
    Row("tr(XA)", "MC 100", lambda X, A: cr.trace(X @ A), (normal(3, 4), normal(4, 3)), "X",
        "Aᵀ", lambda X, A: A.T),
    Row("tr(AXB)", "MC 101", lambda X, A, B: cr.trace(A @ X @ B),
        (normal(3, 4), normal(2, 3), normal(4, 2)), "X", "AᵀBᵀ", lambda X, A, B: A.T @ B.T),
    Row("tr(AXᵀB)", "MC 102", lambda X, A, B: cr.trace(A @ X.mT @ B),
        (normal(4, 3), normal(2, 3), normal(4, 2)), "X", "BA", lambda X, A, B: B @ A),
    Row("tr(XᵀA)", "MC 103", lambda X, A: cr.trace(X.mT @ A), (normal(4, 3), normal(4, 3)), "X",
        "A", lambda X, A: A),
    Row("tr(AXᵀ)", "MC 104", lambda X, A: cr.trace(A @ X.mT), (normal(4, 3), normal(4, 3)), "X",
        "A", lambda X, A: A),
    Row("tr(X²)", "MC 106", lambda X: cr.trace(X @ X), (_square,), "X", "2Xᵀ", lambda X: 2 * X.T),
    Row("tr(X²B)", "MC 107", lambda X, B: cr.trace(X @ X @ B), (_square, _square), "X",
        "BᵀXᵀ + XᵀBᵀ", lambda X, B: (X @ B + B @ X).T,
        book="(XB + BX)ᵀ"),
    Row("tr(XᵀBX)", "MC 108", lambda X, B: cr.trace(X.mT @ B @ X), (normal(4, 3), normal(4, 4)),
        "X", "(B + Bᵀ)X", lambda X, B: B @ X + B.T @ X),
    Row("tr(BXXᵀ)", "MC 109", lambda X, B: cr.trace(B @ X @ X.mT), (normal(4, 3), normal(4, 4)),
        "X", "(B + Bᵀ)X", lambda X, B: B @ X + B.T @ X),
    Row("tr(XXᵀB)", "MC 110", lambda X, B: cr.trace(X @ X.mT @ B), (normal(4, 3), normal(4, 4)),
        "X", "(B + Bᵀ)X", lambda X, B: B @ X + B.T @ X),
    Row("tr(XBXᵀ)", "MC 111", lambda X, B: cr.trace(X @ B @ X.mT), (normal(4, 3), _square), "X",
        "X(B + Bᵀ)", lambda X, B: X @ B.T + X @ B),
    Row("tr(BXᵀX)", "MC 112", lambda X, B: cr.trace(B @ X.mT @ X), (normal(4, 3), _square), "X",
        "X(B + Bᵀ)", lambda X, B: X @ B.T + X @ B),
    Row("tr(XᵀXB)", "MC 113", lambda X, B: cr.trace(X.mT @ X @ B), (normal(4, 3), _square), "X",
        "X(B + Bᵀ)", lambda X, B: X @ B.T + X @ B),
    Row("tr(AXBX)", "MC 114", lambda X, A, B: cr.trace(A @ X @ B @ X),
        (normal(3, 4), normal(4, 3), normal(4, 3)), "X", "AᵀXᵀBᵀ + BᵀXᵀAᵀ",
        lambda X, A, B: A.T @ X.T @ B.T + B.T @ X.T @ A.T),
    Row("tr(XᵀX)", "MC 115", lambda X: cr.trace(X.mT @ X), (normal(4, 3),), "X", "2X",
        lambda X: 2 * X),
    Row("tr(XXᵀ)", "MC 115", lambda X: cr.trace(X @ X.mT), (normal(4, 3),), "X", "2X",
        lambda X: 2 * X),
    Row("tr(BᵀXᵀCXB)", "MC 116", lambda X, B, C: cr.trace(B.mT @ X.mT @ C @ X @ B),
        (normal(4, 3), normal(3, 2), normal(4, 4)), "X", "(C + Cᵀ)XBBᵀ",
        lambda X, B, C: C.T @ X @ B @ B.T + C @ X @ B @ B.T),
    Row("tr(XᵀBXC)", "MC 117", lambda X, B, C: cr.trace(X.mT @ B @ X @ C),
        (normal(4, 3), normal(4, 4), _square), "X", "BXC + BᵀXCᵀ",
        lambda X, B, C: B @ X @ C + B.T @ X @ C.T),
    Row("tr(AXBXᵀC)", "MC 118", lambda X, A, B, C: cr.trace(A @ X @ B @ X.mT @ C),
        (normal(4, 3), normal(2, 4), _square, normal(4, 2)), "X", "CAXB + AᵀCᵀXBᵀ",
        lambda X, A, B, C: A.T @ C.T @ X @ B.T + C @ A @ X @ B,
        book="AᵀCᵀXBᵀ + CAXB"),
    Row("‖AXB + C‖²", "MC 119", lambda X, A, B, C: ((A @ X @ B + C) ** 2).sum(),
        (normal(3, 4), normal(2, 3), normal(4, 5), normal(2, 5)), "X", "2Aᵀ(AXB + C)Bᵀ",
        lambda X, A, B, C: 2 * A.T @ (A @ X @ B + C) @ B.T),
    Row("tr(X³)", "MC 121", lambda X: cr.trace(X @ X @ X), (_square,), "X", "3 XᵀXᵀ",
        lambda X: 3 * (X @ X).T,
        book="3(X²)ᵀ"),
]  # fmt: skip

INVERSES = [
    Row("det(X)", "MC 49", lambda X: cr.linalg.det(X), (regular(3),), "X", "det(X)X⁻ᵀ",
        lambda X: det(X) * inv(X).T),
    Row("det(AXB)", "MC 51", lambda X, A, B: cr.linalg.det(A @ X @ B),
        (regular(3), regular(3), regular(3)), "X", "det(AXB)X⁻ᵀ",
        lambda X, A, B: det(A @ X @ B) * inv(X).T),
    Row("det(XᵀAX)", "MC 54", lambda X, A: cr.linalg.det(X.mT @ A @ X), (normal(4, 3), definite(4)),
        "X", "det(U) (AXR + AᵀXRᵀ) where U = XᵀAX, R = U⁻¹",
        lambda X, A: 2 * det(X.T @ A @ X) * A @ X @ inv(X.T @ A @ X),
        book="det(XᵀAX)(AX(XᵀAX)⁻¹ + AᵀX(XᵀAᵀX)⁻¹)"),
    Row("log det(XᵀX)", "MC 55", lambda X: cr.linalg.logdet(X.mT @ X), (normal(5, 3),), "X",
        "2X(XᵀX)⁻¹", lambda X: 2 * np.linalg.pinv(X).T),
    Row("log|det(X)|", "MC 57", lambda X: cr.linalg.slogdet(X).logabsdet, (regular(3),), "X",
        "X⁻ᵀ", lambda X: inv(X).T),
    Row("log det(X)", "MC 57", lambda X: cr.linalg.logdet(X), (regular(3),), "X", "X⁻ᵀ",
        lambda X: inv(X).T),
    Row("aᵀX⁻¹b", "MC 61", lambda X, a, b: a @ cr.linalg.inv(X) @ b,
        (regular(3), normal(3), normal(3)), "X", "−X⁻ᵀabᵀX⁻ᵀ",
        lambda X, a, b: -inv(X).T @ np.outer(a, b) @ inv(X).T),
    Row("det(X⁻¹)", "MC 62", lambda X: cr.linalg.det(cr.linalg.inv(X)), (regular(3),), "X",
        "−det(X⁻¹)X⁻ᵀ", lambda X: -det(inv(X)) * inv(X).T),
    Row("tr(AX⁻¹B)", "MC 63", lambda X, A, B: cr.trace(A @ cr.linalg.inv(X) @ B),
        (regular(3), normal(2, 3), normal(3, 2)), "X", "−X⁻ᵀAᵀBᵀX⁻ᵀ",
        lambda X, A, B: -(inv(X) @ B @ A @ inv(X)).T,
        book="−(X⁻¹BAX⁻¹)ᵀ"),
    Row("tr(X⁻¹A)", "MC 63", lambda X, A: cr.trace(cr.linalg.inv(X) @ A), (regular(3), _square),
        "X", "−X⁻ᵀAᵀX⁻ᵀ", lambda X, A: -(inv(X) @ A @ inv(X)).T,
        book="−(X⁻¹AX⁻¹)ᵀ"),
    Row("tr((X + A)⁻¹)", "MC 64", lambda X, A: cr.trace(cr.linalg.inv(X + A)),
        (regular(3), regular(3)), "X", "−UᵀUᵀ where U = (A + X)⁻¹",
        lambda X, A: -(inv(X + A) @ inv(X + A)).T,
        book="−((X + A)⁻¹(X + A)⁻¹)ᵀ"),
    Row("aᵀA⁻¹x, by solve", "MC 69", lambda x, A, a: a @ cr.linalg.solve(A, x),
        (normal(3), regular(3), normal(3)), "x", "A⁻ᵀa", lambda x, A, a: inv(A).T @ a),
]  # fmt: skip

ROWS = [*FORMS, *NORMS, *TRACES, *INVERSES]
