"""The table of what posteriors cost times the same work. No time is judged here."""

import numpy as np
import pytest

from benchmarks import posteriors
from benchmarks.race import Worker


@pytest.mark.parametrize("places", posteriors.DROPOUTS.values())
def test_samples_and_passes_of_the_tail_have_the_same_moments(places):
    samples, tails = (posteriors.chainrule_side(places, one)() for one in (False, True))
    assert samples.shape == tails.shape == (posteriors.SAMPLES, posteriors.ROWS, 10)
    assert samples.std(0).min() > 0
    error = np.sqrt((samples.var(0) + tails.var(0)) / posteriors.SAMPLES)
    distance = np.abs(samples.mean(0) - tails.mean(0)) / error
    assert distance.max() < 5
    assert samples.var(0).mean() == pytest.approx(tails.var(0).mean(), rel=0.1)


def test_a_worker_answers():
    worker = Worker("chainrule", "last layer", module="benchmarks.posteriors")
    try:
        assert worker.facts is not None
        assert worker.ask("time 1") > 0
    finally:
        worker.stop()


def test_an_ensemble_and_one_network_are_timed():
    together, alone = posteriors.training_times((4, 8, 1), 8, 1)
    assert len(together) == len(alone) == 1
