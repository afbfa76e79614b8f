"""`explain`, and the questions that can be asked of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainrule.lens.explain.derivation import Derivation, Section
from chainrule.lens.explain.record import Recorded, record
from chainrule.lens.explain.steps.backward import backward_section
from chainrule.lens.explain.steps.forward import forward_sections
from chainrule.lens.explain.steps.update import update_section
from chainrule.tensor.locate import explained


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation(Derivation):
    """The derivation of a network's numbers, of which further questions can be asked.

    Attributes:
        recorded: the network as it ran, with everything kept.
        optimizer: whose step is explained, where one was given.
    """

    recorded: Recorded
    optimizer: Any = None

    def weight(self, name: str) -> Derivation:
        """One weight: ∂L/∂w as the sum over paths of the products along them, and what a change of
        w does when it is tried.

        Args:
            name: such as `2.weight[3, 17]`.
        """
        from chainrule.lens.explain.questions.weight import weight_section

        return self._about(f"The weight {name}", weight_section(self.recorded, name))

    def neuron(
        self,
        module: str,
        unit: int | tuple[int, ...],
        row: int = 0,
        *,
        inputs: Sequence[str] | None = None,
    ) -> Derivation:
        """One neuron of a layer: which inputs made it fire, as a ranked sum; of a convolution the
        patch times the filter; of an embedding the row that was looked up, and its neighbours.

        Args:
            module: the layer's path, such as `encoder.0`, or a quantity, such as `z1`.
            unit: which output; of a convolution (channel, row, column); of an embedding the place
                in the example's sequence.
            row: which example.
            inputs: what the layer's inputs are called, such as a table's columns, or the words of
                an embedding.
        """
        from chainrule.lens.explain.questions.neuron import neuron_section

        section = neuron_section(self.recorded, module, unit, row, inputs)
        title = f"Unit {unit} of {module or 'the network'}, example {row}"
        return self._about(title, section)

    def attention(
        self,
        module: str = "",
        *,
        head: int = 0,
        position: int = -1,
        row: int = 0,
        tokens: Sequence[str] | None = None,
    ) -> Derivation:
        """One position of one head: scores, scaling, mask, softmax, the weighted sum of values.

        Args:
            module: the path of a module that runs attention; the first where it is left out.
            head, position, row: which head, which query, which example.
            tokens: the names of the keys, and of the queries where there are as many.
        """
        from chainrule.lens.explain.questions.attention import attention_section

        section = attention_section(self.recorded, module, head, position, row, tokens)
        return self._about(section.title, replace(section, title="Step by step"))

    def open(self, name: str) -> Derivation:
        """An operation that is made of others: the steps of its definition, with their numbers.

        Args:
            name: of a step, such as `a3`; inside of it there are `a3.1`, `a3.2`, …, which can be
                opened in turn.
        """
        from chainrule.lens.explain.steps.opening import expanded, find

        section = expanded(*find(self.recorded, name))
        return self._about(section.title, replace(section, title="Step by step"))

    def probability(self, row: int = 0, classes: Sequence[str] | None = None) -> Derivation:
        """The output as a distribution: softmax, the loss as a likelihood, what the loss would be
        at other probabilities, the entropy beside its maximum.

        Args:
            row: which example.
            classes: the names of the classes.
        """
        from chainrule.lens.explain.questions.probability import probability_section

        title = f"The output as a distribution, example {row}"
        return self._about(title, probability_section(self.recorded, row, classes))

    def shapes(self) -> Derivation:
        """Why every array has the shape that it has."""
        from chainrule.lens.explain.questions.shapes import shapes_section

        return self._about("Shapes", shapes_section(self.recorded))

    def _about(self, title: str, section: Section) -> Derivation:
        """A section of its own, to which the values that it starts from are given."""
        used = {name for step in section.walk() for name in step.operands}
        values = {self.recorded.name(node): node.value for node in self.recorded.nodes}
        started = {k: v for k, v in values.items() if k in used and v is not None}
        return Derivation(title, (section,), {**self.given, **started})


@explained
def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    training: bool = False,
    names: dict[str, Any] | None = None,
) -> Explanation:
    """The mathematics of `model` on `x`: forward pass, loss, backward pass and update.

    Args:
        model: a module, or any function of tensors.
        x: its input, (n, …); a tuple of arrays where the model takes several. Floating-point data
            is cast to the parameters' dtype, y too.
        y: the target, in the form that `loss` takes.
        loss: a function (output, target) -> tensor, such as `nn.cross_entropy`. Where it gives a
            single number, the backward pass is explained, too.
        optimizer: an optimiser of the model's parameters, whose step is explained; nothing is
            updated. Several, as a list, where they share the model.
        training: whether the model runs in training mode (dropout drops, batch statistics are
            used) rather than in evaluation mode. Its own mode, its buffers and the generator are
            left as they were.
        names: further tensors to call by name.

    Returns:
        An `Explanation`, a `Derivation` that prints itself; `.verified` says whether everything
        that it claims was recomputed by another route and agrees; `.to_dict()` is the data.

    Raises:
        DTypeError, DataError: arguments that are not what is described here.
        ChainruleError: no operation of chainrule led to the result.

    >>> import chainrule as cr
    >>> derivation = cr.explain(cr.tanh, cr.asarray([0.5]))
    >>> derivation.verified, derivation.steps[0].formula.plain()
    (True, 'y = tanh(x)')
    """
    recorded = record(model, x, y, loss=loss, names=names, training=training)
    back = backward_section(recorded)
    sections = (*forward_sections(recorded), *([back] if back is not None else []))
    if optimizer is not None:
        sections = (*sections, update_section(recorded, optimizer))
    shapes = [recorded.given[name].shape for name in recorded.inputs]
    what = "an input of shape" if len(shapes) == 1 else "inputs of the shapes"
    title = f"{type(model).__name__} on {what} {', '.join(map(str, shapes))}"
    return Explanation(title, sections, recorded.given, recorded=recorded, optimizer=optimizer)
