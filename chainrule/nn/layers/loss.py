"""The losses as layers. Each is one function of `chainrule.probability`, which says which
distribution it assumes."""

from __future__ import annotations

from chainrule.nn.layers.layer import FunctionLayer
from chainrule.probability import losses


class CrossEntropyLoss(FunctionLayer, function=losses.cross_entropy): ...


class NLLLoss(FunctionLayer, function=losses.nll_loss): ...


class BCEWithLogitsLoss(FunctionLayer, function=losses.binary_cross_entropy_with_logits): ...


class MSELoss(FunctionLayer, function=losses.mse_loss): ...


class L1Loss(FunctionLayer, function=losses.l1_loss): ...


class HuberLoss(FunctionLayer, function=losses.huber_loss): ...


class SmoothL1Loss(FunctionLayer, function=losses.smooth_l1_loss): ...


class GaussianNLLLoss(FunctionLayer, function=losses.gaussian_nll_loss): ...


class PoissonNLLLoss(FunctionLayer, function=losses.poisson_nll_loss): ...
