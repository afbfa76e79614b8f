"""The losses as layers. Each is one function of `chainrule.probability`, which says which
distribution it assumes."""

from __future__ import annotations

from chainrule.nn.layers.layer import FunctionLayer
from chainrule.probability import imbalance, losses, margins, sequences, similarity


class CrossEntropyLoss(FunctionLayer, function=losses.cross_entropy): ...


class NLLLoss(FunctionLayer, function=losses.nll_loss): ...


class BCEWithLogitsLoss(FunctionLayer, function=losses.binary_cross_entropy_with_logits): ...


class MSELoss(FunctionLayer, function=losses.mse_loss): ...


class L1Loss(FunctionLayer, function=losses.l1_loss): ...


class HuberLoss(FunctionLayer, function=losses.huber_loss): ...


class SmoothL1Loss(FunctionLayer, function=losses.smooth_l1_loss): ...


class GaussianNLLLoss(FunctionLayer, function=losses.gaussian_nll_loss): ...


class PoissonNLLLoss(FunctionLayer, function=losses.poisson_nll_loss): ...


class BCELoss(FunctionLayer, function=losses.binary_cross_entropy): ...


class KLDivLoss(FunctionLayer, function=losses.kl_div): ...


class CTCLoss(FunctionLayer, function=sequences.ctc_loss): ...


class HingeEmbeddingLoss(FunctionLayer, function=margins.hinge_embedding_loss): ...


class MarginRankingLoss(FunctionLayer, function=margins.margin_ranking_loss): ...


class SoftMarginLoss(FunctionLayer, function=margins.soft_margin_loss): ...


class MultiMarginLoss(FunctionLayer, function=margins.multi_margin_loss): ...


class MultiLabelMarginLoss(FunctionLayer, function=margins.multilabel_margin_loss): ...


class MultiLabelSoftMarginLoss(FunctionLayer, function=margins.multilabel_soft_margin_loss): ...


class CosineEmbeddingLoss(FunctionLayer, function=similarity.cosine_embedding_loss): ...


class TripletMarginLoss(FunctionLayer, function=similarity.triplet_margin_loss): ...


class TripletMarginWithDistanceLoss(
    FunctionLayer, function=similarity.triplet_margin_with_distance_loss
): ...


class InfoNCELoss(FunctionLayer, function=similarity.info_nce_loss): ...


class NTXentLoss(FunctionLayer, function=similarity.nt_xent_loss): ...


class FocalLoss(FunctionLayer, function=imbalance.focal_loss): ...


class DiceLoss(FunctionLayer, function=imbalance.dice_loss): ...
