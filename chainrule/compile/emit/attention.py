"""The kernels of attention and of its gradient, which never hold more than a few rows of scores.

A task takes one head of one example (forward: or some of its queries). The keys are packed once as
columns. Then, for a few queries at a time, a strip of scores against all keys that they look at is
computed, made weights and multiplied by the values, while it is in the cache; the gradient does the
same with two strips, weights and their cotangents (the order of work of Dao et al. 2022,
FlashAttention, arXiv:2205.14135; a strip is as long as there are keys, so that its softmax is exact
at once, and neither a running maximum nor a logarithm is kept).
"""

from __future__ import annotations

from chainrule.compile.emit.attention_form import Attention, Form
from chainrule.compile.emit.attention_forward import Forward
from chainrule.compile.emit.attention_gradient import Gradient
from chainrule.compile.emit.kernel import KernelCode
from chainrule.compile.emit.lanes import Unsupported
from chainrule.compile.machine import Machine


def attention(of: Attention, machine: Machine) -> KernelCode:
    """The kernel with args q, k, v, [mask], [keep], y.

    Raises:
        Unsupported: the dtype is neither float32 nor float64, or there is a size of 0.
    """
    form = Form(of, machine)
    elements = of.heads * (of.queries + of.keys) * (of.size + of.value_size)
    return KernelCode(
        key=f"attention {of}",
        emit=lambda module, name: Forward(module, name, form).function,
        tasks=of.heads * form.parts,
        scratch=form.scratch(*Forward.parts),
        flops=of.pairs * (2 * of.size + 2 * of.value_size + 13),
        bytes=elements * of.q.dtype.itemsize,
    )


def attention_gradient(of: Attention, machine: Machine) -> KernelCode:
    """The kernel with args g, q, k, v, [mask], [keep] and the flat dq, dk, dv.

    Raises:
        Unsupported: as `attention`; or q, k or v is broadcast over a batch dimension, so that its
            cotangent is a sum over tasks.
    """
    form = Form(of, machine)
    for operand in (of.q, of.k, of.v):
        if any(n > 1 and s == 0 for n, s in zip(of.batch, operand.batch, strict=True)):
            raise Unsupported("the gradient of attention to operands that are broadcast")
    elements = of.heads * (of.queries + of.keys) * (of.size + of.value_size)
    return KernelCode(
        key=f"attention_gradient {of}",
        emit=lambda module, name: Gradient(module, name, form).function,
        tasks=of.heads,
        scratch=form.scratch(*Gradient.parts),
        flops=of.pairs * (6 * of.size + 4 * of.value_size + 18),
        bytes=2 * elements * of.q.dtype.itemsize,
    )
