"""Random bits against Random123's published vectors; seeds, splits and distributions."""

import threading

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule.tensor import generator

KNOWN_ANSWERS = [  # from Random123's kat_vectors, philox4x32-10: counter, key, words
    ([0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, words):
    found = generator.philox(tuple(key), np.array([counter], np.uint64))[0]
    assert " ".join(f"{int(word):08x}" for word in found) == words


def test_bits_are_a_function_of_their_number():
    key = (7, 8)
    whole = generator.bits(key, 0, 40)
    assert (generator.bits(key, 3, 8) == whole[12:20]).all()
    assert (generator.bits(key, 0, 5) == whole[:5]).all()
    # A counter past 32 bits goes on in the second word.
    far = generator.philox(key, np.array([[0, 1, 0, 0]], np.uint64))[0]
    assert (generator.bits(key, 2**32, 4) == far).all()


def test_a_seed_repeats_and_another_does_not():
    def draw():
        return [
            cr.random.normal((50,)), cr.random.uniform((50,)), cr.random.bernoulli(0.4, (50,)),
            cr.random.integers(0, 1000, (50,)), cr.random.permutation(50),
        ]  # fmt: skip

    cr.seed(5)
    first, next_ = draw(), draw()
    cr.seed(5)
    again = draw()
    cr.seed(6)
    other = draw()
    for a, b, c, d in zip(first, again, next_, other, strict=True):
        assert (a.numpy() == b.numpy()).all()
        assert (a.numpy() != c.numpy()).any()
        assert (a.numpy() != d.numpy()).any()


def test_state_is_all_that_there_is():
    g = cr.Generator(2**63 + 5)
    cr.random.normal((7,), generator=g)
    state = g.state
    first = cr.random.normal((7,), generator=g)
    other = cr.Generator()
    other.state = state
    assert (cr.random.normal((7,), generator=other).numpy() == first.numpy()).all()


def test_splits_are_independent():
    """Pairs of streams: uncorrelated, and jointly uniform on the unit square."""
    n = 20_000
    children = cr.Generator(5).split(4)
    streams = [cr.random.uniform((n,), generator=g).numpy() for g in [cr.Generator(5), *children]]
    for i in range(5):
        assert stats.kstest(streams[i], "uniform").pvalue > 1e-3
        for j in range(i):
            assert abs(np.corrcoef(streams[i], streams[j])[0, 1]) < 4 / np.sqrt(n)
            counts = np.histogram2d(streams[i], streams[j], bins=10, range=[[0, 1]] * 2)[0]
            assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_a_split_depends_on_the_seed_and_moves_the_parent_on():
    parent = cr.Generator(5)
    a, b = parent.split()
    c, d = parent.split()
    keys = [g.state for g in (a, b, c, d, *cr.Generator(6).split())]
    assert len(set(keys)) == 6
    assert [g.state for g in cr.Generator(5).split()] == keys[:2]


def test_threads_are_given_different_bits():
    g = cr.Generator(1)
    taken = []

    def take():
        taken.extend(g.take(5)[1] for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(0, 4000, 2))  # five words use two blocks


def test_distributions_against_scipy():
    g = cr.Generator(1)
    uniform = cr.random.uniform((20000,), -1, 3, generator=g).numpy()
    assert stats.kstest(uniform, stats.uniform(-1, 4).cdf).pvalue > 1e-3
    normal = cr.random.normal((20000,), 2.0, 3.0, generator=g).numpy()
    assert stats.kstest(normal, stats.norm(2, 3).cdf).pvalue > 1e-3
    heads = int(cr.random.bernoulli(0.3, (20000,), generator=g).numpy().sum())
    assert stats.binomtest(heads, 20000, 0.3).pvalue > 1e-3
    whole = cr.random.integers(2, 5, (3000,), generator=g).numpy()
    assert stats.chisquare(np.bincount(whole, minlength=5)[2:]).pvalue > 1e-3
    assert set(whole.tolist()) == {2, 3, 4}
    order = cr.random.permutation(50, generator=g).numpy()
    assert sorted(order.tolist()) == list(range(50))


@pytest.mark.parametrize("seed", [1.5, "a", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(cr.DTypeError, match="whole number"):
        cr.Generator(seed)


def test_a_draw_that_no_memory_holds_leaves_a_generator_that_can_be_used():
    generator = cr.Generator(1)
    with pytest.raises(cr.ChainruleError):
        cr.random.normal((2**62,), generator=generator)
    generator.state = (*generator.state[:2], 2**70)
    assert np.isfinite(cr.random.normal((3,), generator=generator).numpy()).all()
