"""laplace-torch, called for what chainrule calls structure and weights."""

from __future__ import annotations

import sys
import warnings
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # Of the registry's torchvision there is no build for PyTorch without CUDA, and it does not
        # load beside that. Only image metrics that are not called here would use it.
        for name in ("torchvision", "torchvision.models"):
            sys.modules[name] = MagicMock()
    from laplace import Laplace
    from laplace.curvature import BackPackGGN, CurvlinopsGGN


def laplace_torch(
    model: torch.nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    likelihood: str,
    structure: str,
    weights: str,
    *,
    batch: int,
    **options: Any,
) -> Any:
    """A fitted approximation; Kronecker factors by curvlinops, the others by BackPACK."""
    found = Laplace(
        model,
        likelihood,
        subset_of_weights=weights.replace("-", "_"),
        hessian_structure=structure,
        backend=CurvlinopsGGN if structure == "kron" else BackPackGGN,
        **options,
    )
    rows = TensorDataset(torch.as_tensor(x), torch.as_tensor(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(DataLoader(rows, batch_size=batch))
    return found
