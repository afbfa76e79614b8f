"""The demo's table: 1797 handwritten digits of 8×8 pixels, which ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chainrule.errors import DataError


def write_digits(path: Path) -> Path:
    """Write the digits as an .npz table with the columns r0c0 … r7c7 and digit.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "the digits ship with scikit-learn, which is not installed; "
            "write pip install 'chainrule[sklearn]'"
        ) from None
    pixels, digit = load_digits(return_X_y=True)
    names = [f"r{row}c{column}" for row in range(8) for column in range(8)]
    np.savez_compressed(path, X=pixels, columns=np.array(names), digit=digit)
    return path
