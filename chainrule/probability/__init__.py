"""Probability: distributions and what follows from them: likelihoods and losses, transforms,
divergences, information, posteriors."""

import chainrule.calculus  # noqa: F401  (puts backward on Tensor)
from chainrule.lazy import loader
from chainrule.probability.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)

# What networks need is loaded above; these load when they are first used.
_LATER = {
    "bayes": "BayesianNetwork conjugate_posterior",
    "bounded": "Beta ContinuousBernoulli Kumaraswamy",
    "calibration.choice": "recalibrate",
    "calibration.one_vs_rest": "BetaCalibration IsotonicCalibration PlattScaling",
    "calibration.real": "crps probability_integral_transform quantile_coverage",
    "calibration.recalibrator": "Recalibrator",
    "calibration.reliability": "classwise_calibration_error expected_calibration_error "
    "maximum_calibration_error reliability",
    "calibration.scaling": "MatrixScaling VectorScaling",
    "calibration.scores": "brier_decomposition brier_score log_score sharpness",
    "calibration.significance": "calibration_test",
    "calibration.temperature": "TemperatureScaling",
    "calibration.variance": "IsotonicQuantiles VarianceScaling",
    "categorical": "Categorical Multinomial OneHotCategorical RelaxedBernoulli "
    "RelaxedOneHotCategorical",
    "compound": "Delta Empirical Independent MixtureSameFamily TransformedDistribution",
    "conformal.adaptive": "AdaptiveConformal",
    "conformal.classes": "ConformalClassifier conformal_sets",
    "conformal.cross": "CrossConformalClassifier CrossConformalRegressor",
    "conformal.law": "CrossGuarantee Guarantee",
    "conformal.reals": "ConformalRegressor conformal_intervals",
    "conformal.regions": "PredictionIntervals PredictionSets",
    "continuous": "Cauchy Gumbel Laplace Logistic Normal StudentT TruncatedNormal Uniform VonMises",
    "discrete": "Bernoulli Binomial Geometric NegativeBinomial Poisson ZeroInflatedPoisson",
    "distribution": "Distribution",
    "divergence": "Estimate estimate_kl kl_divergence register_kl",
    "imbalance": "dice_loss focal_loss sigmoid_focal_loss",
    "information": "InformationEstimate",
    "likelihood": "Likelihood maximum_likelihood",
    "margins": "hinge_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
    "multilabel_soft_margin_loss soft_margin_loss",
    "multivariate": "Dirichlet LKJCholesky LowRankMultivariateNormal MultivariateNormal Wishart",
    "novelty.auroc": "Auroc auroc",
    "novelty.drift": "Drift",
    "novelty.mahalanobis": "Mahalanobis",
    "novelty.scores": "disagreement_score energy_score entropy_score max_probability_score",
    "novelty.seen": "Familiarity SeenRange",
    "positive": "Chi2 Exponential FisherSnedecor Gamma HalfCauchy HalfNormal InverseGamma "
    "LogNormal Pareto Weibull",
    "sequences": "ctc_loss",
    "similarity": "cosine_embedding_loss info_nce_loss nt_xent_loss triplet_margin_loss "
    "triplet_margin_with_distance_loss",
    "transforms": "AffineTransform ComposeTransform CorrCholeskyTransform ExpTransform "
    "IdentityTransform IndependentTransform LowerCholeskyTransform PowerTransform "
    "SigmoidTransform SoftmaxTransform SoftplusTransform StickBreakingTransform TanhTransform "
    "Transform biject_to transform_to",
}
_NAMES = {
    name: f"{__name__}.{module}" for module, names in _LATER.items() for name in names.split()
}
# What needs networks lies above this package, and is a name of it all the same.
_NAMES |= {
    "effective_sample_size": "chainrule.posteriors.diagnostics",
    "nuts": "chainrule.posteriors.nuts",
    "posterior": "chainrule.posteriors.posterior",
    "r_hat": "chainrule.posteriors.diagnostics",
}
__getattr__, __dir__ = loader(__name__, _NAMES, ("constraints", "information"), globals())

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    *_NAMES,
]
