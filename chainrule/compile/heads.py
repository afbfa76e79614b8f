"""Attention, convolution and pooling: their nodes as kernels of their own."""

from __future__ import annotations

from chainrule.compile.emit.attention_form import Attention, Operand
from chainrule.compile.emit.kernel import KernelCode
from chainrule.compile.emit.lanes import Unsupported
from chainrule.compile.forms import form
from chainrule.compile.fuse import Group
from chainrule.compile.kernels import Head, Kernel
from chainrule.compile.lower import KERNEL, Item, Lowering
from chainrule.compile.machine import machine
from chainrule.compile.nests import place
from chainrule.compile.views import View, axis_order
from chainrule.tensor.graph import Node

# Attention


def _operand(view: View, batch: tuple[int, ...], *sizes: int) -> Operand:
    """A view with the dimensions in front, and of these last two sizes where it is broadcast."""
    view = view.broadcast((*batch, *(sizes or view.shape[-2:])))
    return Operand(view.strides[:-2], view.strides[-2], view.strides[-1], view.dtype)


class _Attention(Head):
    """Attention, or with a first operand g its gradient."""

    def __init__(self, item: Item, gradient: bool) -> None:
        self.item, self.gradient = item, gradient
        node = item.node
        given = iter(item.args)
        self.given = [None if n is None else next(given) for n in node.inputs]

    def code(self, y: View | None) -> KernelCode:
        from chainrule.compile.emit.attention import attention, attention_gradient

        views = [None if item is None else item.view for item in self.given]
        g = views.pop(0) if self.gradient else None
        q, k, v, mask, keep = views
        assert q is not None
        assert k is not None
        assert v is not None
        whole = g if g is not None else y
        assert whole is not None
        batch, pairs = whole.shape[:-2], (q.shape[-2], k.shape[-2])
        attrs = self.item.node.attrs
        of = Attention(
            batch, q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1],
            _operand(q, batch), _operand(k, batch), _operand(v, batch), _operand(whole, batch),
            g=None if g is None else _operand(g, batch),
            mask=None if mask is None else _operand(mask, batch, *pairs),
            keep=None if keep is None else _operand(keep, batch, *pairs),
            is_causal=attrs["is_causal"], scale=attrs["scale"], p=attrs["p"],
        )  # fmt: skip
        return (attention_gradient if self.gradient else attention)(of, machine())

    def kernels(self, group: Group) -> list[Kernel]:
        item = self.item
        assert item.view is not None
        views = [arg.view for arg in item.args if arg.view is not None]
        args = [place(view) for view in (*views, item.view)]
        read = [view.buffer for view in views]
        code = self.code(item.view)
        return [Kernel(code, args, read, [item.view.buffer], [item], item.name)]


@form("scaled_dot_product_attention", "attention_gradient")
def _attention(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    gradient = node.op.name == "attention_gradient"
    for arg in args:
        lowering.place(arg)
    item = Item(KERNEL, node.op.name, node, args)
    item.data = head = _Attention(item, gradient)
    view = None
    if not gradient:
        q = args[0].view
        assert q is not None
        same = len(q.shape) == len(node.shape)
        view = lowering.arena(node.shape, node.dtype, axis_order(q) if same else None)
    try:
        head.code(view)
    except Unsupported:
        return None
    lowering.add(item)
    item.view = view
    return item
