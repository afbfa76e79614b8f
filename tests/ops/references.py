"""What NumPy and SciPy make of each operation's samples, in float64."""

import itertools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, signal, special
from scipy.spatial import distance

from tests.ops import special_references
from tests.ops.draws import DRAWS
from tests.ops.linalg_references import LINALG


def same(*names):
    return {name: getattr(np, name) for name in names}


def along(function):
    """A reduction, as NumPy spells it, with the standard's arguments."""
    return lambda x, axis=None, keepdims=False, **rest: function(x, axis=axis, keepdims=keepdims)


def spread(function):
    return lambda x, axis=None, correction=0, keepdims=False: function(
        x, axis=axis, ddof=correction, keepdims=keepdims
    )


def running(function, first):
    def reference(x, axis=None, include_initial=False, **rest):
        if include_initial:
            x = np.insert(x, 0, first, axis or 0)
        return function(x, axis=axis)

    return reference


def sort(x, axis=-1, descending=False):
    y = np.sort(x, axis)
    return np.flip(y, axis) if descending else y


def argsort(x, axis=-1, descending=False):
    """By Python's sort, which is stable: of equals the first comes first, descending too."""
    y = np.zeros(x.shape, int)
    for at in np.ndindex(*np.moveaxis(x, axis, -1).shape[:-1]):
        row = np.moveaxis(x, axis, -1)[at]
        sign = -1 if descending else 1
        np.moveaxis(y, axis, -1)[at] = sorted(range(len(row)), key=lambda i, r=row: sign * r[i])
    return y


def softmax(x, axis=-1, **rest):
    return special.softmax(x, axis=axis)


def log_softmax(x, axis=-1, **rest):
    return special.log_softmax(x, axis=axis)


def cosine(a, b, axis=-1, eps=1e-8):
    a, b = np.broadcast_arrays(a, b)
    return np.sum(a * b, axis) / (np.linalg.norm(a, axis=axis) * np.linalg.norm(b, axis=axis))


def getitem(x, key):
    return x[key]


def setitem(x, key, value):
    x = x.copy()
    x[key] = value
    return x


def add_at(g, *arrays, pattern, shape):
    rest = iter(arrays)
    key = tuple(
        next(rest) if p == "array" else slice(*p) if isinstance(p, tuple) else p for p in pattern
    )
    y = np.zeros(shape)
    np.add.at(y, key, g)
    return y


def sum_to(x, shape):
    extra = x.ndim - len(shape)
    x = x.sum(tuple(range(extra)))
    return x.sum(tuple(i for i, n in enumerate(shape) if n == 1 != x.shape[i]), keepdims=True)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """SciPy's correlation of every channel with every pattern."""

    def two(n):
        return (n, n) if np.ndim(n) == 0 else n

    stride, dilation = two(stride), two(dilation)
    outputs, each, *kernel = weight.shape
    wide = np.zeros(
        (outputs, each, *((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)))
    )
    wide[..., :: dilation[0], :: dilation[1]] = weight
    if padding == "same":
        edges = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in wide.shape[-2:]]
    else:
        edges = [(p, p) for p in two(padding)]
    images = x.reshape(-1, *x.shape[-3:])
    images = np.pad(images, [(0, 0), (0, 0), *edges])
    found = []
    for image in images:
        planes = []
        for f in range(outputs):
            first = f // (outputs // groups) * each
            plane = sum(
                signal.correlate2d(image[first + c], wide[f, c], "valid") for c in range(each)
            )
            planes.append(plane[:: stride[0], :: stride[1]] + (0 if bias is None else bias[f]))
        found.append(planes)
    if not found:
        size = [n - k + 1 for n, k in zip(images.shape[-2:], wide.shape[-2:], strict=True)]
        return np.zeros((0, outputs, *size))
    return np.array(found).reshape(*x.shape[:-3], *np.shape(found)[1:])


def _transpose(f, shape):
    """What Aᵀ g is for a linear f(v) = A v, by every unit vector v of a shape."""
    n = int(np.prod(shape))
    basis = np.eye(n).reshape(n, *shape)
    return lambda g: np.array([np.sum(f(v) * g) for v in basis]).reshape(shape)


def convolve(x, weight, stride, padding, dilation, groups):
    """On a frame of zeros of its own, since `padding` has a number for each side."""
    framed = np.pad(x, [*[(0, 0)] * (x.ndim - 2), *padding])
    return conv2d(framed, weight, None, stride, 0, dilation, groups)


def convolve_input(g, weight, size, groups, **steps):
    shape = (*g.shape[:-3], weight.shape[1] * groups, *size)
    return _transpose(lambda x: convolve(x, weight, groups=groups, **steps), shape)(g)


def convolve_weight(x, g, kernel, groups, **steps):
    shape = (g.shape[-3], x.shape[-3] // groups, *kernel)
    return _transpose(lambda w: convolve(x, w, groups=groups, **steps), shape)(g)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    n = 1 if np.ndim(normalized_shape) == 0 else len(normalized_shape)
    axes = tuple(range(x.ndim - n, x.ndim))
    return standardize(x, weight, bias, axes=axes, eps=eps)


def standardize(x, weight=None, bias=None, *, axes, eps, centre=True):
    mean = x.mean(axes, keepdims=True) if centre else 0
    y = (x - mean) / np.sqrt(np.mean((x - mean) ** 2, axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def ctc(log_probs, labels, steps, counts, blank=0):
    """By going through every path."""
    losses = []
    for n, (length, count) in enumerate(zip(steps, counts, strict=True)):
        total = 0.0
        for path in itertools.product(range(log_probs.shape[2]), repeat=int(length)):
            merged = [c for c, _ in itertools.groupby(path) if c != blank]
            if merged == list(labels[n, :count]):
                total += np.exp(sum(log_probs[t, n, c] for t, c in enumerate(path)))
        losses.append(-np.log(total))
    return np.array(losses)


def batch_norm(x, mean=None, variance=None, weight=None, bias=None, eps=1e-5):
    shape = (-1, *(1,) * (x.ndim - 2))
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axes) if mean is None else mean
    variance = x.var(axes) if variance is None else variance
    weight = np.ones(x.shape[1]) if weight is None else weight
    bias = np.zeros(x.shape[1]) if bias is None else bias
    mean, variance, weight, bias = (v.reshape(shape) for v in (mean, variance, weight, bias))
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def attention(q, k, v, mask=None, is_causal=False, scale=None):
    scores = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:])) > 0, scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return special.softmax(scores, -1) @ v


def attention_gradient(g, q, k, v, mask=None, keep=None, is_causal=False, scale=1.0, p=0.0):
    """Row by row: softmax has the Jacobian diag(w) − w wᵀ."""
    shape = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    mask = np.zeros(1) if mask is None else mask
    added = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
    spread = np.broadcast_to(added, (*shape, q.shape[-2], k.shape[-2]))
    kept = np.broadcast_to(1.0 if keep is None else keep / (1 - p), spread.shape)
    dq, dk, dv = (np.zeros((*shape, *x.shape[-2:])) for x in (q, k, v))
    for at in np.ndindex(*shape):
        qs, ks, vs, gs = (np.broadcast_to(x, (*shape, *x.shape[-2:]))[at] for x in (q, k, v, g))
        for i in range(len(qs)):
            z = scale * (ks @ qs[i]) + spread[at][i]
            if is_causal:
                z[i + 1 :] = -np.inf
            w = np.exp(z - z.max())
            w /= w.sum()
            dz = scale * (np.diag(w) - np.outer(w, w)) @ (kept[at][i] * (vs @ gs[i]))
            dq[at][i] += dz @ ks
            dk[at] += np.outer(dz, qs[i])
            dv[at] += np.outer(w * kept[at][i], gs[i])
    return np.concatenate(
        [d.sum(tuple(range(d.ndim - x.ndim))).ravel() for d, x in ((dq, q), (dk, k), (dv, v))]
    )


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """By SciPy's filter on a frame of −∞, wide enough for what hangs over."""
    k = np.broadcast_to(kernel_size, 2)
    s = k if stride is None else np.broadcast_to(stride, 2)
    p, d = np.broadcast_to(padding, 2), np.broadcast_to(dilation, 2)
    room = [n + 2 * a - b * (c - 1) - 1 for n, a, b, c in zip(x.shape[-2:], p, d, k, strict=True)]
    if ceil_mode:
        counts = [-(-r // t) + 1 for r, t in zip(room, s, strict=True)]
        counts = [
            c - ((c - 1) * t >= n + a)
            for c, t, n, a in zip(counts, s, x.shape[-2:], p, strict=True)
        ]
    else:
        counts = [r // t + 1 for r, t in zip(room, s, strict=True)]
    frame = [(0, 0)] * (x.ndim - 2) + [(a, a + b * c) for a, b, c in zip(p, d, k, strict=True)]
    padded = np.pad(x, frame, constant_values=-np.inf)
    footprint = np.zeros([(b - 1) * c + 1 for b, c in zip(k, d, strict=True)], bool)
    footprint[:: d[0], :: d[1]] = True
    origin = [-(n - 1) // 2 if n % 2 else -(n // 2) for n in footprint.shape]
    origin = [-(n // 2) for n in footprint.shape]
    flat = padded.reshape(-1, *padded.shape[-2:])
    found = np.stack(
        [
            ndimage.maximum_filter(
                image, footprint=footprint, mode="constant", cval=-np.inf, origin=origin
            )
            for image in flat
        ]
    )
    rows, columns = (np.arange(c) * t for c, t in zip(counts, s, strict=True))
    return found[:, rows[:, None], columns].reshape(*x.shape[:-2], *counts)


def pool_places(x, kernel, stride, dilation, padding):
    """Window by window, in the order of the pixels; the first of equals."""
    height, width = x.shape[-2:]
    (top, bottom), (left, right) = padding
    rows = (height + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    y = np.zeros((*x.shape[:-2], rows, columns), np.uint8)
    for *lead, i, j in np.ndindex(*y.shape):
        best = -np.inf
        for n, (k, m) in enumerate(np.ndindex(*kernel)):
            u, v = i * stride[0] + k * dilation[0] - top, j * stride[1] + m * dilation[1] - left
            if 0 <= u < height and 0 <= v < width and x[(*lead, u, v)] > best:
                best, y[(*lead, i, j)] = x[(*lead, u, v)], n
    return y


def _winners(which, kernel, stride, dilation, padding):
    """The pixel that each window's winner is: (its rows, its columns)."""
    i, j = (np.arange(n) for n in which.shape[-2:])
    k, m = np.divmod(which.astype(int), kernel[1])
    u = i[:, None] * stride[0] + k * dilation[0] - padding[0][0]
    return u, j * stride[1] + m * dilation[1] - padding[1][0]


def pool_pick(x, which, **window):
    rows, columns = _winners(which, **window)
    lead = np.ix_(*map(np.arange, which.shape))[:-2]
    return x[(*lead, rows, columns)]


def pool_spread(g, which, size, **window):
    rows, columns = _winners(which, **window)
    lead = np.ix_(*map(np.arange, which.shape))[:-2]
    y = np.zeros((*g.shape[:-2], *size))
    np.add.at(y, (*lead, rows, columns), g)
    return y


def adaptive_avg_pool2d(x, output_size):
    rows, columns = np.broadcast_to(output_size, 2)
    y = np.empty((*x.shape[:-2], rows, columns))
    height, width = x.shape[-2:]
    for i in range(rows):
        for j in range(columns):
            window = x[
                ...,
                i * height // rows : -(-(i + 1) * height // rows),
                j * width // columns : -(-(j + 1) * width // columns),
            ]
            y[..., i, j] = window.mean((-1, -2))
    return y


def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
):  # fmt: skip
    k = np.broadcast_to(kernel_size, 2)
    s = k if stride is None else np.broadcast_to(stride, 2)
    p = np.broadcast_to(padding, 2)
    shape = max_pool2d(x, kernel_size, stride, padding, 1, ceil_mode).shape
    y = np.empty(shape)
    for i in range(shape[-2]):
        for j in range(shape[-1]):
            top, left = i * s[0] - p[0], j * s[1] - p[1]
            bottom, right = top + k[0], left + k[1]
            window = x[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            height = min(bottom, x.shape[-2] + p[0]) - top
            width = min(right, x.shape[-1] + p[1]) - left
            count = height * width if count_include_pad else window.shape[-1] * window.shape[-2]
            y[..., i, j] = window.sum((-1, -2)) / (divisor_override or count)
    return y


def adaptive_max(rank):
    def pool(x, output_size):
        size = x.shape[-rank:]
        parts = tuple(np.broadcast_to(output_size, rank))
        y = np.empty((*x.shape[:-rank], *parts))
        for at in np.ndindex(*parts):
            window = tuple(
                slice(i * n // m, -(-(i + 1) * n // m))
                for i, n, m in zip(at, size, parts, strict=True)
            )
            y[(..., *at)] = x[(..., *window)].max(tuple(range(-rank, 0)), initial=-np.inf)
        return y

    return pool


def running_places(x, axis, word):
    """Number by number along the axis."""
    y = np.zeros(x.shape, int)
    for at in np.ndindex(*np.delete(x.shape, axis)):
        row = (*at[:axis], slice(None), *at[axis:])
        for i in range(x.shape[axis]):
            values = x[row][: i + 1]
            y[row][i] = np.flatnonzero(values == getattr(np, word)(values))[-1]
    return y


def cdist(a, b, p=2.0):
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    y = np.empty((*lead, a.shape[-2], b.shape[-2]))
    for at in np.ndindex(*lead):
        kind = {"metric": "chebyshev"} if p == np.inf else {"metric": "minkowski", "p": p}
        y[at] = distance.cdist(a[at], b[at], **kind)
    return y


def extreme_at(x, src, *arrays, pattern, word):
    """One number after the other."""
    y = x.copy()
    rows = np.arange(x.size).reshape(x.shape)[arrays[0]]
    for place, value in zip(rows.ravel(), src.ravel(), strict=True):
        y.reshape(-1)[place] = {"max": max, "min": min}[word](y.reshape(-1)[place], value)
    return y


def windows(x, kernel, stride=1, dilation=1, padding=((0, 0), (0, 0))):
    s, d = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + list(padding))
    reach = [(n - 1) * b + 1 for n, b in zip(kernel, d, strict=True)]
    seen = sliding_window_view(x, reach, axis=(-2, -1))[..., :: s[0], :: s[1], :, :]
    return np.moveaxis(seen[..., :: d[0], :: d[1]], (-2, -1), (-4, -3))


def add_windows(g, *, size, kernel, stride, dilation, padding):
    (top, bottom), (left, right) = padding
    y = np.zeros((*g.shape[:-4], size[0] + top + bottom, size[1] + left + right))
    for k, m, i, j in np.ndindex(*g.shape[-4:]):
        y[..., stride[0] * i + dilation[0] * k, stride[1] * j + dilation[1] * m] += g[
            ..., k, m, i, j
        ]
    return y[..., top : top + size[0], left : left + size[1]]


def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Number by number."""
    (k, m), (s, t), (d, e), (p, r) = (
        np.broadcast_to(v, 2) for v in (kernel_size, stride, dilation, padding)
    )
    height, width = output_size
    columns = (width + 2 * r - e * (m - 1) - 1) // t + 1
    y = np.zeros((*x.shape[:-2], x.shape[-2] // (k * m), height, width))
    for row, column in np.ndindex(*x.shape[-2:]):
        channel, inside = divmod(row, k * m)
        u = column // columns * s + inside // m * d - p
        v = column % columns * t + inside % m * e - r
        if 0 <= u < height and 0 <= v < width:
            y[..., channel, u, v] += x[..., row, column]
    return y


def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """SciPy's interpolation at every place."""
    rank = x.ndim - 2
    y = np.empty((*x.shape[:2], *grid.shape[1:-1]))
    size = np.array(x.shape[:1:-1])
    at = (grid + 1) / 2 * (size - 1) if align_corners else ((grid + 1) * size - 1) / 2
    order = {"bilinear": 1, "nearest": 0}[mode]
    outside = {"zeros": "grid-constant", "border": "nearest"}[padding_mode]
    for b, c in np.ndindex(*x.shape[:2]):
        places = [at[b, ..., rank - 1 - axis] for axis in range(rank)]
        y[b, c] = ndimage.map_coordinates(x[b, c], places, order=order, mode=outside)
    return y


def permute(x, axes):
    return np.transpose(x, axes)


def words(key, counter, n):
    """Philox4x32-10 in Python's whole numbers, one block at a time (Salmon et al. 2011)."""
    found = []
    block = counter
    while len(found) < n:
        c, (k0, k1) = [block % 2**32, block // 2**32, 0, 0], key
        for _ in range(10):
            p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [p1 // 2**32 ^ c[1] ^ k0, p1 % 2**32, p0 // 2**32 ^ c[3] ^ k1, p0 % 2**32]
            k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
        found += c
        block += 1
    return np.array(found[:n], dtype=np.uint64)


def unit(key, counter, n):
    """24 bits of each word, in [0, 1)."""
    return (words(key, counter, n) >> np.uint64(8)).astype(np.float32) / np.float32(2**24)


def random_normal(key, counter, shape, dtype):
    """Box and Muller in float64; float32 is compared to its rounding."""
    n = int(np.prod(shape))
    u, v = np.split(unit(key, counter, n).astype(np.float64), 2)
    radius = np.sqrt(-2 * np.log1p(-u))
    angle = 2 * np.pi * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).reshape(shape)


REFERENCES = {
    **LINALG,
    **special_references.REFERENCES,
    **same(
        "abs", "add", "subtract", "ceil", "cos", "cosh", "divide", "equal",
        "exp", "exp2", "expm1", "floor", "floor_divide", "greater", "greater_equal", "hypot",
        "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log10", "log1p", "log2",
        "copysign", "nextafter", "signbit",
        "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "matmul",
        "maximum", "minimum", "multiply", "negative", "not_equal", "outer", "positive",
        "reciprocal", "remainder", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh",
        "trunc", "where", "bitwise_and", "bitwise_or", "bitwise_xor",
    ),
    "pow": np.power,
    "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh,
    "atan": np.arctan, "atanh": np.arctanh, "atan2": np.arctan2,
    "bitwise_invert": np.bitwise_invert,
    "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv,
    "xlogy": special.xlogy,
    "round": np.round,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "relu": lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)),
    "sigmoid": special.expit,
    "log_sigmoid": special.log_expit,
    "softplus": lambda x: -special.log_expit(-x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x, approximate="none": (
        x * special.ndtr(x) if approximate == "none"
        else x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    ),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "leaky_relu": lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardtanh": lambda x, min_val=-1, max_val=1: np.clip(x, min_val, max_val),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "clip": lambda x, low=None, high=None, **k: np.clip(
        x, k.get("min", low), k.get("max", high)
    ),
    "sum": along(np.sum), "mean": along(np.mean), "max": along(np.max), "min": along(np.min),
    "prod": along(np.prod), "argmax": along(np.argmax), "argmin": along(np.argmin),
    "any": along(np.any), "all": along(np.all), "logsumexp": along(special.logsumexp),
    "var": spread(np.var), "std": spread(np.std),
    "cumulative_sum": running(np.cumsum, 0), "cumulative_prod": running(np.cumprod, 1),
    "diff": lambda x, **attrs: np.diff(x, **{k: v for k, v in attrs.items() if v is not None}),
    "sort": sort, "argsort": argsort,
    "searchsorted": lambda x1, x2, **attrs: np.searchsorted(x1, x2, **attrs),
    "count_nonzero": along(np.count_nonzero),
    "isin": np.isin,
    "bitwise_left_shift": np.left_shift, "bitwise_right_shift": np.right_shift,
    "softmax": softmax, "log_softmax": log_softmax,
    "softmax_cross_entropy": lambda x, y: -np.take_along_axis(
        special.log_softmax(x, -1), np.asarray(y)[..., None], -1
    )[..., 0],
    "identity": lambda x: x, "stop_gradient": lambda x: x,
    "astype": lambda x, dtype: x.astype(dtype),
    "reshape": lambda x, shape: np.reshape(x, shape),
    "permute_dims": permute,
    "matrix_transpose": lambda x: np.swapaxes(x, -1, -2),
    "broadcast_to": np.broadcast_to,
    "sum_to": sum_to,
    "expand_dims": lambda x, axis=0: np.expand_dims(x, axis),
    "squeeze": lambda x, axis=None: np.squeeze(x, axis),
    "flatten": lambda x, start_axis=0, end_axis=-1: x.reshape(
        *x.shape[:start_axis], -1, *x.shape[end_axis % max(x.ndim, 1) + 1 :]
    ),
    "concat": lambda arrays, axis=0: np.concatenate(arrays, axis),
    "pad_zeros": np.pad,
    "pad": lambda x, pad_width, value=0.0, mode="constant": (
        np.pad(x, pad_width, constant_values=value) if mode == "constant"
        else np.pad(x, pad_width, {"replicate": "edge", "circular": "wrap"}.get(mode, mode))
    ),
    "flip": lambda x, axis=None: np.flip(x, axis),
    "getitem": getitem, "setitem": setitem, "add_at": add_at,
    "embedding": lambda x, weight: weight[x],
    "linear": lambda x, weight, bias=0.0: x @ weight.T + bias,
    "vecdot": lambda a, b, axis=-1: np.sum(a * b, axis),
    "tensordot": lambda a, b, axes=2: np.tensordot(a, b, axes),
    "cosine_similarity": cosine,
    "drop": lambda x, keep, p: np.where(keep, x / (1 - p), 0),
    "random_uniform": lambda key, counter, shape, dtype: unit(
        key, counter, int(np.prod(shape))
    ).reshape(shape),
    "random_keep": lambda key, counter, shape, p: (
        words(key, counter, int(np.prod(shape))) < p * 2**32
    ).reshape(shape),
    "random_normal": random_normal,
    "windows": windows, "add_windows": add_windows, "conv2d": conv2d,
    "convolve": convolve, "convolve_input": convolve_input, "convolve_weight": convolve_weight,
    "pool_places": pool_places, "pool_pick": pool_pick, "pool_spread": pool_spread,
    "max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    **{f"adaptive_max_pool{rank}d": adaptive_max(rank) for rank in (1, 2, 3)},
    "interp": np.interp, "polyval": np.polyval,
    "running_places": running_places,
    "topk_places": lambda x, k, axis, largest: np.take(
        np.argsort(-x if largest else x, axis, kind="stable"), np.arange(k), axis
    ),
    "pairwise_distance": lambda a, b, p=2.0, eps=1e-6, keepdims=False: np.linalg.norm(
        np.atleast_1d(a - b + eps), p, -1, keepdims
    ),
    "cdist": cdist,
    "normalize": lambda x, p=2.0, axis=1: x / np.linalg.norm(x, p, axis, keepdims=True),
    "einsum": lambda equation, *xs: np.einsum(equation, *xs),
    "extreme_at": extreme_at, "fold": fold, "grid_sample": grid_sample,
    "ctc_negative_log_likelihood": ctc,
    "standardize": standardize, "layer_norm": layer_norm, "batch_norm": batch_norm,
    "scaled_dot_product_attention": attention,
    "attention_gradient": attention_gradient,
    **DRAWS,
}  # fmt: skip
