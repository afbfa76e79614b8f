"""An LSTM layer for chainrule, with the arguments, weights and results of PyTorch's."""

from __future__ import annotations

import chainrule as cr
from chainrule import Tensor, nn

State = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """Hochreiter, Schmidhuber 1997, in PyTorch's form: gates in the order i, f, g, o."""

    def __init__(self, inputs: int, hidden: int, batch_first: bool = True) -> None:
        assert batch_first
        self.weight_ih_l0 = nn.Parameter(cr.zeros((4 * hidden, inputs)))
        self.weight_hh_l0 = nn.Parameter(cr.zeros((4 * hidden, hidden)))
        self.bias_ih_l0 = nn.Parameter(cr.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(cr.zeros(4 * hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, State]:
        """All states (batch, steps, hidden), and the last state and cell."""
        weight = self.weight_hh_l0.mT
        hidden = weight.shape[0]

        def step(carry: State, gates: Tensor) -> tuple[State, Tensor]:
            h, c = carry
            gates = gates + h @ weight
            i, f, g, o = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
            c = cr.sigmoid(f) * c + cr.sigmoid(i) * cr.tanh(g)
            h = cr.sigmoid(o) * cr.tanh(c)
            return (h, c), h

        gates = x @ self.weight_ih_l0.mT + self.bias_ih_l0 + self.bias_hh_l0
        zeros = cr.zeros((x.shape[0], hidden))
        last, states = cr.scan(step, (zeros, zeros), gates.permute(1, 0, 2))
        return states.permute(1, 0, 2), last
