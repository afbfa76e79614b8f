"""Matrix products on one thread, which is a setting of NumPy's library: it is put back."""

import numpy as np
import pytest

from chainrule.tensor.products import _library, on_one_thread

pytestmark = pytest.mark.skipif(_library() is None, reason="NumPy was built with another library")


def threads():
    return _library().scipy_openblas_get_num_threads64_()


def test_one_thread_inside_and_as_many_as_before_afterwards():
    before = threads()
    with on_one_thread():
        assert threads() == 1
        with on_one_thread():
            assert threads() == 1
        assert threads() == 1
    assert threads() == before


def test_put_back_after_an_error():
    before = threads()
    with pytest.raises(ValueError, match="matmul"), on_one_thread():
        np.ones((2, 3)) @ np.ones((2, 3))
    assert threads() == before
