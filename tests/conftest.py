"""What every test shares."""

import os
import shutil
import tempfile

from hypothesis import settings

# The same examples on every run, so that a red run is red again;
# `pytest --hypothesis-profile=default` looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("ci")

# The suite's workers fill the machine; threads of BLAS, which are many, would fight over it. It is
# told before NumPy is imported, and to every process that starts later.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_configure(config):
    """Compiled code goes to a folder of the run's own, which its workers share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.cache_of_code = os.environ["CHAINRULE_CACHE"] = tempfile.mkdtemp("chainrule")


def pytest_unconfigure(config):
    if hasattr(config, "cache_of_code"):
        shutil.rmtree(config.cache_of_code, ignore_errors=True)
