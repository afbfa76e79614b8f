"""Random tensors: `cr.random.normal((2, 3))`. The default generator starts from `cr.seed(n)`."""

from chainrule.ops.random import bernoulli, integers, normal, permutation, uniform

__all__ = ["bernoulli", "integers", "normal", "permutation", "uniform"]
