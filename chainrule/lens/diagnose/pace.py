"""When to measure: often at first, then so rarely that measuring costs a small share of the run."""

from __future__ import annotations


class Pace:
    """The first steps are always measured; after that, steps ever further apart, as long as the
    time for measuring, the next one counted in, stays below a share of the time of the run.

    Args:
        share: the largest share of the run's time.
        first: so many steps are measured whatever they cost.
        grace: seconds that measuring may take besides.

    Attributes:
        spent: seconds of measuring so far.
    """

    def __init__(self, share: float = 0.02, first: int = 4, grace: float = 0.0) -> None:
        self.share, self.first, self.grace, self.spent = share, first, grace, 0.0
        self._next, self._cost = 0, 0.0

    def due(self, step: int, elapsed: float) -> bool:
        """Whether this step is to be measured, `elapsed` seconds after the run began."""
        if step < self._next:
            return False
        return step < self.first or self.allows(elapsed)

    def allows(self, elapsed: float) -> bool:
        """Whether there is time for one measurement more."""
        return self.spent + self._cost <= self.share * elapsed + self.grace

    def measured(self, step: int, seconds: float) -> None:
        """Note that a step was measured, and how long that took."""
        self.spent += seconds
        self._cost = seconds
        self._next = step + max(1, step // 2) if step < 64 else step + 32
