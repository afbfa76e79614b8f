"""A hundred functions of a (3, 4) array, written once for both namespaces (see test_jax_suite).

`xp` is chainrule or stands for JAX; what the two call by other names is in `test_jax_suite.Theirs`.
"""

import numpy as np

rng = np.random.default_rng(7)
W1, W2, W3 = rng.normal(size=(4, 5)), rng.normal(size=(5, 3)), rng.normal(size=(4, 4))
B1, B3 = rng.normal(size=5), rng.normal(size=3)
KEYS, VALUES = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
SPD = W3 @ W3.T + 2 * np.eye(4)
KERNEL = rng.normal(size=(2, 1, 2, 2))
LABELS = np.array([1, 3, 0])
CONST = rng.normal(size=(3, 4))
FUNCTIONS = {}


def function(f):
    FUNCTIONS[f.__name__] = f
    return f


# Dense networks


@function
def dense(xp, x):
    return xp.tanh(x @ xp.asarray(W1))


@function
def two_layers(xp, x):
    return xp.relu(x @ xp.asarray(W1) + xp.asarray(B1)) @ xp.asarray(W2) + xp.asarray(B3)


@function
def gelu_layers(xp, x):
    return xp.gelu(x @ xp.asarray(W1)) @ xp.asarray(W2)


@function
def silu_residual(xp, x):
    return x + xp.silu(x @ xp.asarray(W3))


@function
def softplus_layer(xp, x):
    return xp.softplus(x @ xp.asarray(W3))


@function
def elu_layer(xp, x):
    return xp.elu(x @ xp.asarray(W1))


@function
def gated(xp, x):
    h = x @ xp.asarray(W3)
    return h[:, :2] * xp.sigmoid(h[:, 2:])


@function
def swiglu(xp, x):
    return (xp.silu(x @ xp.asarray(W1)) * (x @ xp.asarray(W1 + 1))) @ xp.asarray(W2)


@function
def mixture_of_experts(xp, x):
    gates = xp.softmax(x @ xp.asarray(W3[:, :2]))
    experts = xp.stack([xp.tanh(x @ xp.asarray(W3)), xp.sin(x @ xp.asarray(W3.T))], axis=1)
    return (gates[:, :, None] * experts).sum(1)


@function
def deep(xp, x):
    for i in range(6):
        x = xp.tanh(x @ xp.asarray(W3 * 0.5)) + 0.1 * i * x
    return x


@function
def bilinear_layer(xp, x):
    return ((x @ xp.asarray(SPD)) * x).sum(-1)


@function
def hypernetwork(xp, x):
    weights = xp.reshape(xp.tanh(x[0] @ xp.asarray(W3)), (2, 2))
    return x[:, :2] @ weights


# Attention


@function
def self_attention(xp, x):
    scores = x @ xp.matrix_transpose(x) / 2.0
    return xp.softmax(scores) @ x


@function
def causal_attention(xp, x):
    scores = x @ xp.asarray(W3) @ xp.matrix_transpose(x)
    mask = xp.asarray(np.tri(3, dtype=bool))
    return xp.softmax(xp.where(mask, scores, -1e9)) @ x


@function
def heads(xp, x):
    def split(v):
        return xp.permute_dims(xp.reshape(v, (3, 2, 2)), (1, 0, 2))

    q, k, v = split(x @ xp.asarray(W3)), split(x @ xp.asarray(W3.T)), split(x)
    y = xp.softmax(q @ xp.matrix_transpose(k)) @ v
    return xp.reshape(xp.permute_dims(y, (1, 0, 2)), (3, 4))


@function
def linear_attention(xp, x):
    q, k = xp.elu(x) + 1, xp.elu(x @ xp.asarray(W3)) + 1
    return q @ (xp.matrix_transpose(k) @ x) / (q @ k.sum(0))[:, None]


@function
def cosine_attention(xp, x):
    unit = x / xp.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)
    return xp.softmax(5 * unit @ xp.matrix_transpose(unit)) @ x


@function
def cross_attention(xp, x):
    return xp.softmax(x @ xp.asarray(KEYS.T)) @ xp.asarray(VALUES)


@function
def position_bias(xp, x):
    distance = np.abs(np.arange(3)[:, None] - np.arange(3))
    return xp.softmax(x @ xp.matrix_transpose(x) - xp.asarray(0.5 * distance)) @ x


@function
def rotary(xp, x):
    angle = np.arange(3)[:, None] * np.array([1.0, 0.1])
    c, s = xp.asarray(np.cos(angle)), xp.asarray(np.sin(angle))
    a, b = x[:, ::2], x[:, 1::2]
    q = xp.concat([a * c - b * s, a * s + b * c], axis=1)
    return xp.softmax(q @ xp.matrix_transpose(q)) @ x


@function
def fused_attention(xp, x):
    return xp.scaled_dot_product_attention(x, x @ xp.asarray(W3), x[:, :2])


@function
def temperature(xp, x):
    return xp.softmax(x * xp.exp(x[0, 0]))


# Convolution and pooling


@function
def convolution(xp, x):
    return xp.conv2d(xp.reshape(x, (1, 1, 3, 4)), xp.asarray(KERNEL))


@function
def convolution_steps(xp, x):
    return xp.conv2d(xp.reshape(x, (1, 1, 3, 4)), xp.asarray(KERNEL), stride=2, padding=1)


@function
def convolution_by_itself(xp, x):
    return xp.conv2d(xp.reshape(x, (1, 1, 3, 4)), xp.reshape(x[:2, :2], (1, 1, 2, 2)))


@function
def depthwise(xp, x):
    image = xp.reshape(x, (1, 3, 2, 2))
    return xp.conv2d(image, xp.asarray(rng0(3, 1, 2, 2)), groups=3, padding=1)


@function
def convolution_relu_pool(xp, x):
    y = xp.relu(xp.conv2d(xp.reshape(x, (1, 1, 3, 4)), xp.asarray(KERNEL), padding=1))
    return xp.max_pool2d(y, 2)


@function
def windows_by_slices(xp, x):
    return sum(w * x[:, i : i + 3] for i, w in enumerate((0.5, -1.0)))


@function
def mean_pool(xp, x):
    return xp.reshape(x, (3, 2, 2)).mean(-1) ** 2


@function
def max_over_time(xp, x):
    return xp.max(x @ xp.asarray(W3), axis=0)


def rng0(*shape):
    return np.sin(np.arange(1.0, np.prod(shape) + 1)).reshape(shape)


# Normalisation


@function
def layer_norm_by_hand(xp, x):
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


@function
def layer_norm(xp, x):
    return xp.layer_norm(x, 4) * xp.asarray(W3[0]) + xp.asarray(W3[1])


@function
def rms_norm(xp, x):
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-6)


@function
def batch_norm(xp, x):
    return (x - xp.mean(x, axis=0)) / xp.sqrt(xp.var(x, axis=0) + 1e-5)


@function
def standard_deviation(xp, x):
    return x / (xp.std(x, axis=1, keepdims=True) + 0.1)


@function
def unit_length(xp, x):
    return x / xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))


@function
def group_norm(xp, x):
    g = xp.reshape(x, (3, 2, 2))
    g = (g - xp.mean(g, axis=(0, 2), keepdims=True)) / (xp.std(g, axis=(0, 2), keepdims=True) + 1)
    return xp.reshape(g, (3, 4))


@function
def weight_norm(xp, x):
    return xp.asarray(CONST) @ xp.matrix_transpose(x / xp.sqrt(xp.sum(x * x)))


# Softmax and losses


@function
def softmax_down(xp, x):
    return xp.softmax(x, axis=0)


@function
def log_softmax(xp, x):
    return xp.log_softmax(x, axis=-1)


@function
def log_sum_exp(xp, x):
    return xp.logsumexp(x, axis=1)


@function
def cross_entropy(xp, x):
    picked = xp.take_along_axis(xp.log_softmax(x, axis=-1), xp.asarray(LABELS)[:, None], axis=1)
    return -xp.mean(picked)


@function
def smoothed_labels(xp, x):
    targets = 0.9 * np.eye(4)[LABELS] + 0.025
    return -xp.sum(xp.asarray(targets) * xp.log_softmax(x, axis=-1), axis=-1)


@function
def binary_cross_entropy(xp, x):
    return xp.maximum(x, 0.0) - x * xp.asarray(CONST > 0) + xp.log1p(xp.exp(-xp.abs(x)))


@function
def focal(xp, x):
    p = xp.sigmoid(x)
    return -((1 - p) ** 2) * xp.log(p)


@function
def huber(xp, x):
    d = x - xp.asarray(CONST)
    return xp.where(xp.abs(d) < 1, 0.5 * d * d, xp.abs(d) - 0.5)


@function
def squared_error(xp, x):
    return xp.mean((x - xp.asarray(CONST)) ** 2)


@function
def poisson_loss(xp, x):
    return xp.exp(x) - xp.asarray(np.abs(CONST)) * x


@function
def gaussian_loss(xp, x):
    mean, spread = x[:, :2], xp.softplus(x[:, 2:]) + 0.1
    return xp.log(spread) + (xp.asarray(CONST[:, :2]) - mean) ** 2 / (2 * spread**2)


@function
def divergence(xp, x):
    p, q = xp.log_softmax(x, axis=-1), xp.log_softmax(x @ xp.asarray(W3), axis=-1)
    return xp.sum(xp.exp(p) * (p - q), axis=-1)


@function
def entropy(xp, x):
    p = xp.softmax(x)
    return -xp.sum(p * xp.log(p), axis=-1)


@function
def hinge(xp, x):
    return xp.maximum(0.0, 1 - x * xp.asarray(np.sign(CONST)))


@function
def triplet(xp, x):
    near = xp.sqrt(xp.sum((x[0] - x[1]) ** 2) + 1e-9)
    far = xp.sqrt(xp.sum((x[0] - x[2]) ** 2) + 1e-9)
    return xp.maximum(near - far + 1.0, 0.0)


@function
def contrastive(xp, x):
    unit = x / xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True) + 1e-6)
    logits = unit @ xp.matrix_transpose(unit @ xp.asarray(W3))
    return xp.logsumexp(logits, axis=1) - xp.sum(logits * xp.asarray(np.eye(3)), axis=1)


# Recurrence


@function
def recurrent(xp, x):
    def step(h, row):
        h = xp.tanh(row @ xp.asarray(W3) + h @ xp.asarray(W3.T))
        return h, h

    return xp.scan(step, x[0] * 0, x)[1]


@function
def long_short_term_memory(xp, x):
    gates = xp.asarray(np.tile(W3, 4))

    def step(carry, row):
        h, c = carry
        z = (row + h) @ gates
        i, f, g, o = z[:4], z[4:8], z[8:12], z[12:]
        c = xp.sigmoid(f) * c + xp.sigmoid(i) * xp.tanh(g)
        h = xp.sigmoid(o) * xp.tanh(c)
        return (h, c), h

    return xp.scan(step, (x[0] * 0, x[1] * 0), x)[1]


@function
def gated_recurrent(xp, x):
    def step(h, row):
        z, r = xp.sigmoid(row + h), xp.sigmoid(row - h)
        h = (1 - z) * h + z * xp.tanh(row @ xp.asarray(W3) + r * h)
        return h, None

    return xp.scan(step, x[0] * 0, x)[0]


@function
def backwards(xp, x):
    return xp.scan(lambda c, row: (0.5 * c + row, c * row), x[0] * 0, x, reverse=True)[1]


@function
def running_total(xp, x):
    return xp.scan(lambda c, row: (c + row, xp.sin(c + row)), x[0], x)[1]


@function
def python_loop(xp, x):
    h, found = x[0], []
    for i in range(3):
        h = xp.tanh(h * x[i] + 0.3)
        found.append(h)
    return xp.stack(found)


@function
def state_space(xp, x):
    decay = xp.asarray(np.array([0.9, 0.5, 0.1, -0.3]))
    states = xp.scan(lambda s, u: (decay * s + u, decay * s + u), x[0] * 0, x)[1]
    return states @ xp.asarray(W1)


@function
def discounted(xp, x):
    return xp.scan(lambda c, r: ((r + 0.9 * c[0], c[1] * 0.9), c), (x[0], x[1, 0]), x)[1][0]


# Log-densities


@function
def normal(xp, x):
    return -0.5 * (x - 1.0) ** 2 / 4.0 - np.log(2.0) - 0.5 * np.log(2 * np.pi)


@function
def laplace(xp, x):
    return -xp.abs(x - 0.3) / 0.7 - np.log(1.4)


@function
def student(xp, x):
    return -2.5 * xp.log1p(x * x / 4.0)


@function
def multivariate_normal(xp, x):
    d = xp.matrix_transpose(x - xp.asarray(CONST))
    return -0.5 * xp.sum(d * xp.linalg.solve(xp.asarray(SPD), d), axis=0)


@function
def covariance_of_its_own(xp, x):
    a = xp.matrix_transpose(x) @ x + xp.asarray(np.eye(4))
    lower = xp.linalg.cholesky(a)
    diagonal = xp.sum(lower * xp.asarray(np.eye(4)), axis=-1)
    return -xp.sum(xp.log(diagonal)) - 0.5 * xp.sum(lower * xp.asarray(W3))


@function
def von_mises(xp, x):
    return 1.3 * xp.cos(x - 0.5)


@function
def logistic(xp, x):
    return -x - 2 * xp.log1p(xp.exp(-x))


@function
def gumbel(xp, x):
    return -(x + xp.exp(-x))


@function
def mixture(xp, x):
    centres = xp.asarray(np.array([-1.0, 0.0, 2.0]))
    return xp.logsumexp(-0.5 * (x[..., None] - centres) ** 2, axis=-1)


@function
def weibull(xp, x):
    y = xp.softplus(x)
    return 0.5 * xp.log(y) - y**1.5


@function
def error_function(xp, x):
    return xp.log(0.5 * (1 + xp.erf(x / 2.0)) + 1e-3)


# Landscapes


@function
def rosenbrock(xp, x):
    v = xp.reshape(x, (-1,))
    return xp.sum(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2)


@function
def himmelblau(xp, x):
    a, b = x[:, 0], x[:, 1]
    return (a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2


@function
def rastrigin(xp, x):
    return xp.sum(x**2 - 10 * xp.cos(2 * np.pi * x))


@function
def ackley(xp, x):
    first = -20 * xp.exp(-0.2 * xp.sqrt(xp.mean(x**2)))
    return first - xp.exp(xp.mean(xp.cos(2 * np.pi * x))) + 20


@function
def beale(xp, x):
    a, b = x[:, 0], x[:, 1]
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


@function
def styblinski(xp, x):
    return xp.sum(x**4 - 16 * x**2 + 5 * x) / 2


@function
def quadratic(xp, x):
    return xp.sum((x @ xp.asarray(SPD)) * x)


@function
def rayleigh(xp, x):
    v = x[0]
    return v @ xp.asarray(SPD) @ v / (v @ v)


@function
def pendulum_energy(xp, x):
    return 0.5 * xp.sum(x[0] ** 2) - xp.sum(xp.cos(x[1])) + xp.prod(xp.cos(x[2]))


# Branches, indices, shapes


@function
def branch(xp, x):
    return xp.where(x > 0, xp.exp(-x), xp.sin(x))


@function
def nested_branch(xp, x):
    return xp.where(x > 0.5, x**2, xp.where(x < -0.5, -x, xp.sin(x)))


@function
def one_of_two(xp, x):
    return xp.cond(x[0, 0] > 0, lambda v: xp.sin(v), lambda v: v**3, x)


@function
def absolute(xp, x):
    return xp.abs(x) * xp.sign(x - 0.1)


@function
def clipped(xp, x):
    return xp.clip(x, -0.7, 0.9) ** 2


@function
def smaller_and_larger(xp, x):
    return xp.minimum(x, x[::-1] * 0.7) * xp.maximum(x, xp.asarray(CONST))


@function
def slices(xp, x):
    return x[::2, 1:] * x[1:, :-1][:, ::-1][0]


@function
def integers(xp, x):
    return x[xp.asarray(np.array([2, 0, 0, 1]))] * x[0, 3]


@function
def integer_pairs(xp, x):
    return x[xp.asarray(np.array([[2], [0]])), xp.asarray(np.array([1, 3, 3]))] ** 2


@function
def largest_of_each(xp, x):
    return xp.take_along_axis(x, xp.argmax(x, axis=1)[:, None], axis=1) * x


@function
def row_by_value(xp, x):
    return x[xp.argmax(x[:, 0])] * x[xp.argmin(x[:, 1])]


@function
def segments(xp, x):
    return xp.segment_sum(x * x, np.array([1, 0, 1]), 2)


@function
def joined(xp, x):
    return xp.concat([x, xp.stack([x[0], x[2] * x[1]])], axis=0)


@function
def rolled(xp, x):
    return xp.roll(x, 1, axis=1) * x + xp.roll(x, -1, axis=0)


@function
def triangles(xp, x):
    return xp.tril(x) @ xp.matrix_transpose(xp.triu(x))


@function
def outer_products(xp, x):
    return x[0][:, None] * x[1] + xp.tensordot(x, x, axes=((0,), (0,)))


@function
def running(xp, x):
    return xp.cumulative_sum(x, axis=1) * xp.cumulative_prod(x, axis=0)


@function
def sorted_rows(xp, x):
    return xp.sort(x, axis=1) * xp.asarray(W3[0])


@function
def products(xp, x):
    return xp.prod(x, axis=0) + xp.prod(x[:, :2])


@function
def extremes(xp, x):
    return xp.max(x, axis=1) - xp.min(x) + xp.var(x)


# Functions of functions


@function
def score(xp, x):
    return xp.grad(lambda v: -xp.sum(xp.log1p(v**2)))(x)


@function
def tangent_of_a_layer(xp, x):
    return xp.jvp(lambda v: xp.tanh(v @ xp.asarray(W3)), (x,), (x * 0.5,))[1]


@function
def inner_vmap(xp, x):
    return xp.vmap(lambda row: xp.softmax(row) * row[0])(x)


@function
def pairs(xp, x):
    return xp.vmap(lambda a: xp.vmap(lambda b: xp.tanh(a @ b))(x))(x)


@function
def gradient_penalty(xp, x):
    g = xp.vmap(xp.grad(lambda row: xp.sum(xp.tanh(row @ xp.asarray(W3)))))(x)
    return (xp.sqrt(xp.sum(g * g, axis=-1) + 1e-6) - 1) ** 2


@function
def newton_steps(xp, x):
    y = xp.softplus(x)
    root = y
    for _ in range(3):
        root = 0.5 * (root + y / root)
    return root


@function
def composed(xp, x):
    def twice(f):
        return lambda v: f(f(v))

    return twice(twice(lambda v: xp.sin(v) + 0.5 * v))(x)


@function
def leapfrog(xp, x):
    position, momentum = x[0], x[1]
    force = xp.grad(lambda q: -xp.sum(xp.cos(q) * q))
    for _ in range(2):
        momentum = momentum + 0.05 * force(position)
        position = position + 0.1 * momentum
    return xp.stack([position, momentum])


@function
def determinant(xp, x):
    a = x @ xp.matrix_transpose(x) + xp.asarray(np.eye(3))
    return xp.linalg.inv(a) * xp.linalg.det(a)


@function
def elementary(xp, x):
    y = xp.sigmoid(x)
    return xp.atan(x) + xp.asinh(x) + xp.expm1(y) * xp.log(y) + xp.atan2(x, y + 1) + y**2.5
