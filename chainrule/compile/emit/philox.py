"""Philox4x32-10 in lanes: the bits, and the numbers, of chainrule.tensor.generator and ops.random.

Word w of a draw is word w mod 4 of block counter + w // 4. A key's two words and the counter are
scalars: i32 and i64. Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC11.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.lanes import I1, I32, I64, Lanes, Unsupported, is_half
from chainrule.compile.emit.mathematics import library, log, quarters, sine_of_turn
from chainrule.compile.emit.vector import FLOAT32, FLOAT64, Vector, where

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_UINT32, _UINT64, _INT64 = np.dtype(np.uint32), np.dtype(np.uint64), np.dtype(np.int64)

Key = tuple[ir.Value, ir.Value]


def philox(lanes: Lanes, key: Key, block: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """The four words of the block of each lane: the low halves of uint64."""
    c0, c1, c2, c3 = block & _LOW, block >> 32, block.of(0), block.of(0)
    k0, k1 = (Vector(lanes, lanes.splat(k), _UINT64) for k in _wide_key(lanes, key))
    for _ in range(_ROUNDS):
        # Of a product's operands only the low halves count: it is one instruction on x86.
        p0, p1 = (c0 & _LOW) * _MULTIPLIERS[0], (c2 & _LOW) * _MULTIPLIERS[1]
        c0, c2 = (p1 >> 32) ^ c1 ^ k0, (p0 >> 32) ^ c3 ^ k1
        c1, c3 = p1, p0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return c0, c1, c2, c3


def _wide_key(lanes: Lanes, key: Key) -> list[ir.Value]:
    return [lanes.builder.zext(k, I64) for k in key]


def random_words(
    lanes: Lanes, key: Key, counter: ir.Value, index: ir.Value, aligned: bool = False
) -> ir.Value:
    """The words number index, index + 1, …, one a lane, as i32.

    Args:
        index: an i64; `aligned` says that it is a multiple of 4, and then, of 4 lanes or more, no
            block is computed twice.
    """
    if aligned and lanes.width % 4 == 0:
        return _aligned_words(lanes, key, counter, index)
    return words_at(lanes, key, counter, _counting(lanes, index))


def _counting(lanes: Lanes, index: ir.Value) -> ir.Value:
    return lanes.builder.add(lanes.splat(index), lanes.iota(_INT64))


def words_at(lanes: Lanes, key: Key, counter: ir.Value, index: ir.Value) -> ir.Value:
    """The word whose number each lane says, as i32."""
    number = Vector(lanes, index, _UINT64)
    words = philox(lanes, key, _block(lanes, counter, number))
    odd, high = (number & 1).differs(0), (number & 2).differs(0)
    word = where(high, where(odd, words[3], words[2]), where(odd, words[1], words[0]))
    return lanes.builder.trunc(word.value, lanes.wide(I32))


def _block(lanes: Lanes, counter: ir.Value, number: Vector) -> Vector:
    return Vector(lanes, lanes.splat(counter), _UINT64) + (number >> 2)


def _aligned_words(lanes: Lanes, key: Key, counter: ir.Value, index: ir.Value) -> ir.Value:
    """As `philox`, with the first and the third words of all blocks in one vector.

    Both products of a round are then one multiplication; the words change halves after it.
    """
    blocks = lanes.width // 4
    b, pairs = lanes.builder, Lanes(lanes.builder, 2 * blocks)

    def halves(first: int, second: int) -> Vector:
        values = [I64(first)] * blocks + [I64(second)] * blocks
        return Vector(pairs, ir.Constant(pairs.wide(I64), values), _UINT64)

    def shuffled(v: Vector, w: Vector, places: list[int]) -> Vector:
        chosen = ir.Constant(ir.VectorType(I32, len(places)), places)
        return Vector(pairs, b.shuffle_vector(v.value, w.value, chosen), _UINT64)

    exchange = [*range(blocks, 2 * blocks), *range(blocks)]
    multiplier = halves(*_MULTIPLIERS)
    k0, k1 = (Vector(pairs, pairs.splat(k), _UINT64) for k in _wide_key(lanes, key))
    keys = shuffled(k0, k1, [0] * blocks + [2 * blocks] * blocks)
    first = b.add(counter, b.lshr(index, I64(2)))
    numbers = ir.Constant(pairs.wide(I64), [I64(i % blocks) for i in range(2 * blocks)])
    number = Vector(pairs, b.add(pairs.splat(first), numbers), _UINT64)
    even, odd = number & halves(_LOW, 0), (number >> 32) & halves(_LOW, 0)
    for _ in range(_ROUNDS):
        product = (even & _LOW) * multiplier
        crossed = shuffled(product, product, exchange)
        even, odd = (crossed >> 32) ^ odd ^ keys, crossed
        keys = keys + halves(*_WEYL)
    narrow = pairs.wide(I32)
    places = [i for n in range(blocks) for i in (n, n + 2 * blocks, n + blocks, n + 3 * blocks)]
    return b.shuffle_vector(
        b.trunc(even.value, narrow),
        b.trunc(odd.value, narrow),
        ir.Constant(ir.VectorType(I32, lanes.width), places),
    )


def uniform(
    lanes: Lanes,
    key: Key,
    counter: ir.Value,
    index: ir.Value,
    dtype: np.dtype,
    aligned: bool = False,
) -> ir.Value:
    """Numbers index, index + 1, … of ops.random's `_unit`, of [0, 1)."""
    if dtype != FLOAT64:
        return _unit_of_word(lanes, random_words(lanes, key, counter, index, aligned), dtype)
    if not aligned or lanes.width % 4:
        return _unit_at(lanes, key, counter, _counting(lanes, index), dtype).value
    b, double = lanes.builder, Lanes(lanes.builder, 2 * lanes.width)
    words = random_words(double, key, counter, b.shl(index, I64(1)), True)
    high, low = (
        Vector(lanes, b.shuffle_vector(words, words, _every_second(lanes.width, i)), _UINT32)
        for i in (0, 1)
    )
    return _unit_of_two(high.astype(_UINT64), low.astype(_UINT64)).value


def _every_second(width: int, first: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, width), list(range(first, 2 * width, 2)))


def _unit_of_word(lanes: Lanes, word: ir.Value, dtype: np.dtype) -> ir.Value:
    top = Vector(lanes, word, _UINT32) >> 8
    # Below 2²⁴ signed and unsigned are the same, and signed is the faster conversion.
    unit = Vector(lanes, lanes.builder.sitofp(top.value, lanes.type(FLOAT32)), FLOAT32) * 2.0**-24
    return lanes.round_to(unit.value, dtype) if is_half(dtype) else unit.value


def _unit_of_two(high: Vector, low: Vector) -> Vector:
    joined = ((high << 32) | (low & _LOW)) >> 11
    return joined.astype(FLOAT64) * 2.0**-53


def _unit_at(lanes: Lanes, key: Key, counter: ir.Value, index: ir.Value, dtype: np.dtype) -> Vector:
    """The number of `_unit` whose place each lane says."""
    if dtype == FLOAT32:
        words = words_at(lanes, key, counter, index)
        return Vector(lanes, _unit_of_word(lanes, words, dtype), dtype)
    number = Vector(lanes, index, _UINT64) << 1
    c0, c1, c2, c3 = philox(lanes, key, _block(lanes, counter, number))
    second = (number & 2).differs(0)
    return _unit_of_two(where(second, c2, c0), where(second, c3, c1))


def keep(
    lanes: Lanes,
    key: Key,
    counter: ir.Value,
    index: ir.Value,
    p: float,
    aligned: bool = False,
) -> ir.Value:
    """Booleans index, index + 1, … of ops.random's `_keep`: true with probability p."""
    if p >= 1:
        return lanes.wide_constant(I1, 1)
    word = Vector(lanes, random_words(lanes, key, counter, index, aligned), _UINT32)
    return (word < min(round(p * 2**32), 2**32 - 1)).value


def normal(
    lanes: Lanes,
    key: Key,
    counter: ir.Value,
    index: ir.Value,
    half: ir.Value,
    dtype: np.dtype,
) -> ir.Value:
    """Numbers index, index + 1, … of ops.random's `_normal`, within a few units in the last place.

    Args:
        half: half of how many numbers are drawn in all, rounded up, an i64: the second half has
            the sines of the pairs of uniform numbers whose cosines the first half has.
    """
    if dtype not in (FLOAT32, FLOAT64):
        raise Unsupported(f"normal numbers of {dtype}")
    place = Vector(lanes, _counting(lanes, index), _INT64)
    middle = Vector(lanes, lanes.splat(half), _INT64)
    later = place >= middle
    first = where(later, place - middle, place)
    u = _unit_at(lanes, key, counter, first.value, dtype)
    v = _unit_at(lanes, key, counter, (first + middle).value, dtype)
    radius = (-2 * log(1 - u)).intrinsic("sqrt")  # 1 − u is exact
    angle = v * float(dtype.type(2 * math.pi))
    if dtype == FLOAT64:
        return (radius * where(later, library("sin", angle), library("cos", angle))).value
    quarter, rest = quarters(angle)
    return (radius * sine_of_turn(where(later, quarter, quarter + 1), rest)).value
