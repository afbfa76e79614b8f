"""What every test shares."""

from hypothesis import settings

# The same examples on every run, so that a red run is red again;
# `pytest --hypothesis-profile=default` looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("ci")
