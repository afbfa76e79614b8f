"""Which of this library's operations has the meaning of each of PyTorch's.

`ONE` maps names of PyTorch's table of operations (`op_db`) to functions that take PyTorch's
arguments, with tensors as ours. Each is one call of one operation of ours, under other names for
the arguments: in `theirs = ours: arguments` they stand in PyTorch's order under our names. What
takes more than one call stands in the other modules `torch_*`; `torch_samples.NAMES` has them all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np

import chainrule as cr

KEYWORDS = {
    "dim": "axis", "dims": "axis", "keepdim": "keepdims", "dim0": "axis1", "dim1": "axis2",
    "interpolation": "method", "end": "stop",
}  # fmt: skip

# Arguments that say where, how or in which memory a result is made, which changes no value.
STORAGE = {
    "device", "layout", "pin_memory", "memory_format", "requires_grad", "compute_mode",
    "sparse_grad", "sparse", "scale_grad_by_freq", "driver",
}  # fmt: skip

# Arguments that we do not have, at a value at which they ask for nothing beyond what is there.
NOTHING = {"pivot": True, "check_errors": True}


class Lacks(Exception):  # noqa: N818 - it is no error
    """A sample asks for something that this library does not have, or has under another law."""


def find(name: str) -> Callable[..., Any]:
    """`linalg.inv`, `nn.relu` or `sum` of this library."""
    return reduce(getattr, name.split("."), cr)


@cache
def parameters(name: str) -> dict[str, bool]:
    """An operation's parameters -> whether it is given by position alone."""
    found = inspect.signature(find(name)).parameters.values()
    return {p.name: p.kind is p.POSITIONAL_ONLY for p in found}


def same(ours: str, order: str = "") -> Callable[..., Any]:
    """The operation of this name; `order` is that of PyTorch's arguments, where it is another."""

    def call(*args: Any, **kwargs: Any) -> Any:
        own = parameters(ours)
        names = order.split() or list(own)
        given = dict(zip(names, args, strict=False))
        assert len(args) <= len(names), f"{ours} has the arguments {names}, and gets {args}"
        given |= {_translated(key, own): value for key, value in kwargs.items()}
        for key in [key for key in given if key not in own]:
            value = given.pop(key)
            if key == "dtype":  # PyTorch casts the input, before anything is done
                first = next(iter(own))
                given[first] = cast(given[first], value or given[first].dtype)
            elif not (
                key in STORAGE or value is None or value is False or NOTHING.get(key) is value
            ):
                raise Lacks(f"{key}=")
        return _called(ours, given)

    call.__name__ = ours  # the page tells it
    return call


def _translated(key: str, own: dict[str, bool]) -> str:
    if key == "input":
        return next(iter(own))
    key = KEYWORDS.get(key, key)
    return "axes" if key == "axis" and "axis" not in own and "axes" in own else key


def _called(ours: str, given: dict[str, Any]) -> Any:
    own = parameters(ours)
    first = given[next(iter(own))]
    # PyTorch lets a number have the axis 0. By the standard an axis is one of those that there are.
    number = isinstance(first, cr.Tensor) and not first.ndim and ours != "expand_dims"
    widened = number and (ours in ALONG_AN_AXIS or given.get("axis") not in (None, ()))
    if widened:
        given = {
            k: v.reshape((1,)) if isinstance(v, cr.Tensor) and not v.ndim and k != "q" else v
            for k, v in given.items()
        }
    positional = [given.pop(n) for n, by_position in own.items() if by_position and n in given]
    result = find(ours)(*positional, **given)
    if not widened:
        return result
    return type(result)(*map(_number, result)) if isinstance(result, tuple) else _number(result)


def _number(x: Any) -> Any:
    return x.reshape(x.shape[:-1]) if x.shape[-1:] == (1,) else x


ALONG_AN_AXIS = {"kthvalue", "topk", "swapaxes"}


def cast(x: Any, dtype: Any) -> Any:
    if x.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        raise Lacks("a cast from complex to real, which the standard does not allow")
    return cr.astype(x, dtype)


def axes_of(x: Any, axis: Any) -> tuple[int, ...]:
    """Axes as numbers from 0; all of them if none is named."""
    named = range(x.ndim) if axis is None or axis == () else [axis] if np.isscalar(axis) else axis
    return tuple(int(a) % max(x.ndim, 1) for a in named)


def rows(text: str) -> dict[str, Callable[..., Any]]:
    """The lines of a table: names that are the same, or `theirs = ours: arguments`."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        theirs, _, ours = (part.strip() for part in line.partition("="))
        if not ours:
            found |= {name: same(name) for name in theirs.split()}
        else:
            name, _, order = (part.strip() for part in ours.partition(":"))
            found |= {each: same(name, order) for each in theirs.split()}
    return found


# One call of one operation.
ONE = rows("""
abs acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh digamma erf erfc erfinv exp exp2
expm1 floor i0 isfinite isinf isnan lgamma log log10 log1p log2 logaddexp
maximum minimum nextafter positive reciprocal rsqrt sigmoid sign signbit sin
sinc sinh sqrt square tan tanh trunc xlogy imag real angle polar view_as_complex view_as_real hypot
floor_divide remainder bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift
broadcast_to kron outer dot masked_fill masked_scatter masked_select index_add index_copy
index_fill index_select gather scatter_add cov corrcoef full eye nan_to_num
fmod fmax fmin heaviside logaddexp2 deg2rad rad2deg
lerp
sgn = sign
clamp = clip
mul = multiply
true_divide div.no_rounding_mode = divide
max.binary = maximum
min.binary = minimum
bmm mm mv linalg.multi_dot = matmul
eq = equal
ne = not_equal
lt = less
le = less_equal
gt = greater
ge = greater_equal
neg = negative
bitwise_not = bitwise_invert
conj conj_physical = conj
pow
where = where: x1 condition x2
isclose = isclose: a b rtol atol equal_nan
allclose = allclose: a b rtol atol equal_nan
isin
sum = sum: x axis keepdims dtype
prod = prod: x axis keepdims dtype
mean = mean: x axis keepdims dtype
nansum = nansum: x axis keepdims dtype
nanmean = nanmean: x axis keepdims dtype
amax = max: x axis keepdims
amin = min: x axis keepdims
max.reduction_no_dim = max
min.reduction_no_dim = min
all = all: x axis keepdims
any = any: x axis keepdims
argmax = argmax: x axis keepdims
argmin = argmin: x axis keepdims
count_nonzero = count_nonzero: x axis
logsumexp = logsumexp: x axis keepdims
cumsum = cumulative_sum: x axis dtype
cumprod = cumulative_prod: x axis dtype
cummax = cummax: x axis
cummin = cummin: x axis
logcumsumexp = logcumsumexp: x axis
quantile = quantile: x q axis keepdims method
nanquantile = nanquantile: x q axis keepdims method
diff = diff: x n axis prepend append
trapz trapezoid = trapezoid: y x axis
cumulative_trapezoid = cumulative_trapezoid: y x axis
sigmoid = sigmoid
softmax softmax.with_dtype = softmax: x axis dtype
log_softmax log_softmax.with_dtype = log_softmax: x axis dtype
nn.functional.softmin nn.functional.softmin.with_dtype = nn.softmin: x axis dtype
argsort = argsort: x axis descending stable
kthvalue = kthvalue: x k axis keepdims
topk = topk: x k axis largest sorted
stack = stack: arrays axis
unbind unbind_copy = unstack: x axis
hstack = hstack
vstack = vstack
dstack = dstack
chunk unsafe_chunk = chunk: x chunks axis
split split.list_args unsafe_split split_with_sizes split_with_sizes_copy = split: x sizes axis
tensor_split = tensor_split: x indices_or_sections axis
reshape view view_copy = reshape: x shape
unflatten = unflatten: x axis sizes
permute permute_copy = permute_dims: x axes
transpose transpose_copy = swapaxes: x axis1 axis2
movedim = moveaxis: x source destination
unsqueeze unsqueeze_copy = expand_dims: x axis
flip = flip: x axis
roll = roll: x shift axis
rot90 = rot90: x k axes
repeat tile = tile
mT = matrix_transpose
tril = tril: x k
triu = triu: x k
diag = diag: x k
trace = trace
scatter_reduce.sum scatter_reduce.prod = scatter_reduce: x axis indices src reduce
scatter_reduce.mean scatter_reduce.amin = scatter_reduce: x axis indices src reduce
scatter_reduce.amax = scatter_reduce: x axis indices src reduce
zeros_like = zeros_like
ones_like = ones_like
full_like = full_like: x fill_value
arange = arange
linspace = linspace: start stop num
linalg.cross = linalg.cross: a b axis
cdist = cdist: x1 x2 p compute_mode
matrix_exp = linalg.matrix_exp
matmul
cholesky linalg.cholesky = linalg.cholesky
cholesky_solve = linalg.cholesky_solve: b factor upper
qr linalg.qr = linalg.qr: x mode
linalg.svd = linalg.svd
linalg.svdvals = linalg.svdvals
linalg.eig = linalg.eig
linalg.eigvals = linalg.eigvals
linalg.det = linalg.det
logdet = linalg.logdet
linalg.slogdet = linalg.slogdet
linalg.inv = linalg.inv
linalg.cond = linalg.cond
linalg.householder_product = linalg.householder_product
linalg.matrix_power = linalg.matrix_power
linalg.multi_dot = linalg.multi_dot
linalg.norm linalg.norm.subgradients_at_zero = linalg.norm: x ord axis keepdims
linalg.vecdot = linalg.vecdot
linalg.vector_norm = linalg.vector_norm: x ord axis keepdims
linalg.lu = linalg.lu: x pivot
linalg.solve_triangular = linalg.solve_triangular
pinverse = linalg.pinv: x rtol
fft.fft = fft.fft
fft.ifft = fft.ifft
fft.rfft = fft.rfft
fft.irfft = fft.irfft
fft.hfft = fft.hfft
fft.ihfft = fft.ihfft
fft.fft2 = fft.fft2: x s axes norm
fft.ifft2 = fft.ifft2: x s axes norm
fft.rfft2 = fft.rfft2: x s axes norm
fft.irfft2 = fft.irfft2: x s axes norm
fft.fftn = fft.fftn: x s axes norm
fft.ifftn = fft.ifftn: x s axes norm
fft.rfftn = fft.rfftn: x s axes norm
fft.irfftn = fft.irfftn: x s axes norm
fft.fftshift = fft.fftshift: x axes
fft.ifftshift = fft.ifftshift: x axes
igamma = special.gammainc
igammac = special.gammaincc
special.i0e = special.i0e
special.i1 = special.i1
special.i1e = special.i1e
special.ndtr = special.ndtr
special.xlog1py = special.xlog1py
special.zeta = special.zeta
special.entr = special.entr
special.ndtri = special.ndtri
special.log_ndtr = special.log_ndtr
special.erfcx = special.erfcx
special.airy_ai = special.airy_ai
special.bessel_j0 = special.bessel_j0
special.bessel_j1 = special.bessel_j1
special.bessel_y0 = special.bessel_y0
special.bessel_y1 = special.bessel_y1
special.modified_bessel_i0 = special.i0
special.modified_bessel_i1 = special.i1
special.modified_bessel_k0 = special.k0
special.modified_bessel_k1 = special.k1
special.scaled_modified_bessel_k0 = special.k0e
special.scaled_modified_bessel_k1 = special.k1e
special.spherical_bessel_j0 = special.spherical_bessel_j0
polygamma.polygamma_n_0 polygamma.polygamma_n_1 polygamma.polygamma_n_2 = polygamma: x n
polygamma.polygamma_n_3 polygamma.polygamma_n_4 = polygamma: x n
special.polygamma.special_polygamma_n_0 = polygamma: x n
mvlgamma.mvlgamma_p_1 mvlgamma.mvlgamma_p_3 mvlgamma.mvlgamma_p_5 = special.multigammaln: a d
nn.functional.adaptive_avg_pool1d = nn.adaptive_avg_pool1d
nn.functional.adaptive_avg_pool2d = nn.adaptive_avg_pool2d
nn.functional.adaptive_avg_pool3d = nn.adaptive_avg_pool3d
nn.functional.max_unpool1d nn.functional.max_unpool1d.grad = nn.max_unpool1d
nn.functional.max_unpool2d nn.functional.max_unpool2d.grad = nn.max_unpool2d
nn.functional.max_unpool3d nn.functional.max_unpool3d.grad = nn.max_unpool3d
nn.functional.conv1d = nn.conv1d
nn.functional.conv2d = nn.conv2d
nn.functional.conv3d = nn.conv3d
nn.functional.conv_transpose1d = nn.conv_transpose1d
nn.functional.conv_transpose2d = nn.conv_transpose2d
nn.functional.conv_transpose3d = nn.conv_transpose3d
nn.functional.linear = nn.linear
nn.functional.bilinear = nn.bilinear
nn.functional.group_norm = nn.group_norm
nn.functional.layer_norm = nn.layer_norm
nn.functional.rms_norm = nn.rms_norm
nn.functional.local_response_norm = nn.local_response_norm
nn.functional.unfold = nn.unfold
nn.functional.interpolate.nearest nn.functional.interpolate.nearest-exact = nn.interpolate
nn.functional.interpolate.linear nn.functional.interpolate.bilinear = nn.interpolate
nn.functional.interpolate.bicubic nn.functional.interpolate.trilinear = nn.interpolate
nn.functional.interpolate.area = nn.interpolate
nn.functional.pixel_shuffle = nn.pixel_shuffle
nn.functional.pixel_unshuffle = nn.pixel_unshuffle
nn.functional.channel_shuffle = nn.channel_shuffle
nn.functional.grid_sample = nn.grid_sample
nn.functional.embedding = nn.embedding: weight x padding_idx
nn.functional.embedding_bag = nn.embedding_bag: weight input offsets
nn.functional.relu = nn.relu
nn.functional.relu6 = nn.relu6
nn.functional.leaky_relu = nn.leaky_relu
nn.functional.prelu = nn.prelu
nn.functional.elu = nn.elu
nn.functional.celu = nn.celu
nn.functional.selu = nn.selu
nn.functional.gelu = nn.gelu
nn.functional.silu nn.functional.silu.complex = nn.silu
nn.functional.mish = nn.mish
nn.functional.glu = nn.glu: x axis
nn.functional.hardtanh = nn.hardtanh
nn.functional.hardsigmoid = nn.hardsigmoid
nn.functional.hardswish = nn.hardswish
nn.functional.hardshrink = nn.hardshrink
nn.functional.softshrink = nn.softshrink
nn.functional.softsign = nn.softsign
nn.functional.softplus = nn.softplus
nn.functional.tanhshrink = nn.tanhshrink
nn.functional.threshold = nn.threshold
nn.functional.logsigmoid = nn.log_sigmoid
nn.functional.normalize = nn.normalize: x p axis eps
nn.functional.cosine_similarity = nn.cosine_similarity: a b axis eps
nn.functional.pairwise_distance = nn.pairwise_distance: x1 x2 p eps keepdims
nn.functional.pdist = nn.pdist
nn.functional.cross_entropy = nn.cross_entropy
nn.functional.nll_loss = nn.nll_loss
nn.functional.binary_cross_entropy = nn.binary_cross_entropy
nn.functional.binary_cross_entropy_with_logits = nn.binary_cross_entropy_with_logits
nn.functional.mse_loss = nn.mse_loss
nn.functional.l1_loss = nn.l1_loss
nn.functional.smooth_l1_loss = nn.smooth_l1_loss
nn.functional.huber_loss = nn.huber_loss: input target reduction delta
nn.functional.kl_div = nn.kl_div
nn.functional.ctc_loss = nn.ctc_loss
nn.functional.cosine_embedding_loss = nn.cosine_embedding_loss
nn.functional.margin_ranking_loss = nn.margin_ranking_loss
nn.functional.hinge_embedding_loss = nn.hinge_embedding_loss
nn.functional.poisson_nll_loss = nn.poisson_nll_loss
nn.functional.soft_margin_loss = nn.soft_margin_loss
nn.functional.triplet_margin_loss = nn.triplet_margin_loss
""")
