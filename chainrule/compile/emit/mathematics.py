"""Exponential, logarithm, hyperbolic tangent, error function, sine and cosine, in lanes.

The method is that of W. J. Cody and W. Waite, "Software Manual for the Elementary Functions"
(1980): reduce the argument to a short interval, with the constant subtracted in parts; evaluate a
polynomial or rational function there; put the exponent back. The coefficients are minimax fits of
our own, by Lawson's iteration in 60 digits (C. L. Lawson 1961). tests/compile/test_mathematics.py
holds every function to its bound, in units in the last place, over all of float32's range.
"""

from __future__ import annotations

import math

from chainrule.compile.emit.lanes import I32
from chainrule.compile.emit.vector import FLOAT32, FLOAT64, Vector, polynomial, where
from chainrule.compile.machine import machine

LN2 = math.log(2)
# ln 2 in two parts, of which the first has so few bits that an exponent's product is exact.
_LN2_PARTS = {FLOAT32: (0.693359375, -2.12194440054690583e-4),
              FLOAT64: (6.93147180369123816490e-01, 1.90821492927058770002e-10)}  # fmt: skip
# Added to a number, these leave its nearest whole number in the low bits of the sum.
_ROUNDER = {FLOAT32: 1.5 * 2.0**23, FLOAT64: 1.5 * 2.0**52}
_MANTISSA = {FLOAT32: 23, FLOAT64: 52}
_BIAS = {FLOAT32: 127, FLOAT64: 1023}

# exp(r) = 1 + r + r² P(r) for |r| ≤ ln(2) / 2, to 3.1e-9 and 3.7e-18.
_EXP = {
    FLOAT32: (0.499999934, 0.166665201, 0.0416683944, 0.00836878124, 0.00138144582),
    FLOAT64: (0.50000000000000107, 0.16666666666666410, 0.041666666666529161,
              0.0083333333334956238, 0.0013888888943929495, 1.9841269504793474e-4,
              2.4801492756171756e-5, 2.7557587300038608e-6, 2.7630380832942370e-7,
              2.4999982544404562e-8),
}  # fmt: skip
# 2^r = 1 + r P(r) for |r| ≤ 1/2, to 2.0e-9.
_EXP2 = (0.693147203, 0.240226479, 0.0555033216, 0.00961843863, 0.00133990053, 0.000153532533)
# Below, exp is 0 and above, it is ∞, rounded to nearest.
_EXP_RANGE = {FLOAT32: (-104.0, 89.0), FLOAT64: (-746.0, 710.0)}


def exp(x: Vector) -> Vector:
    low, high = _EXP_RANGE[x.dtype]
    x = clamped(x, low, high)
    power, r, _ = _reduced(x)
    return scaled((r * r).fma(polynomial(r, _EXP[x.dtype]), r) + 1, power)


def exp2(x: Vector) -> Vector:
    if x.dtype == FLOAT64:
        return library("exp2", x)
    x = clamped(x, -151.0, 129.0)
    shifted = x + _ROUNDER[x.dtype]
    r = x - (shifted - _ROUNDER[x.dtype])
    return scaled(r.fma(polynomial(r, _EXP2), 1), _whole(shifted))


def expm1(x: Vector) -> Vector:
    """2ⁿ(exp(r) − 1) + (2ⁿ − 1), with 2ⁿ halved in between, as it is infinite for the largest n."""
    _, high = _EXP_RANGE[x.dtype]
    near = clamped(x, -40.0, high)
    power, r, lost = _reduced(near)
    rest = (r * r).fma(polynomial(r, _EXP[x.dtype]), lost)  # exp(r) − 1 = r + rest
    half = _power_of_two(power - 1, x)
    return where(abs(x) < 2.0**-54, x, rest.fma(half, r.fma(half, half - 0.5)) * 2)


def _reduced(x: Vector) -> tuple[Vector, Vector, Vector]:
    """(n, r, what r lost to rounding) with x = n ln 2 + r and |r| ≤ ln(2) / 2."""
    rounder = _ROUNDER[x.dtype]
    shifted = x.fma(1 / LN2, rounder)
    n = shifted - rounder
    high, low = _LN2_PARTS[x.dtype]
    exact = n.fma(-high, x)
    r = n.fma(-low, exact)
    return _whole(shifted), r, n.fma(-low, exact - r)


def _whole(shifted: Vector) -> Vector:
    """The integer in the low bits of a number to which the rounder was added."""
    return shifted.bits() - shifted.of(_ROUNDER[shifted.dtype]).bits()


def scaled(x: Vector, power: Vector) -> Vector:
    """x · 2^power, rounded once, for |power| below twice the greatest exponent."""
    if machine().vector_bits == 512:  # vscalefps; elsewhere LLVM calls the C library
        lanes, b = x.lanes, x.lanes.builder
        if power.dtype.itemsize == 8:
            power = Vector(lanes, b.trunc(power.value, lanes.wide(I32)), power.dtype)
        suffix = "" if lanes.width == 1 else f"v{lanes.width}"
        name = f"llvm.ldexp.{suffix}f{8 * x.dtype.itemsize}.{suffix}i32"
        return x.like(lanes.call(name, x.value.type, [x.value, power.value]))
    half = power >> 1
    return x * _power_of_two(half, x) * _power_of_two(power - half, x)


def _power_of_two(power: Vector, x: Vector) -> Vector:
    """2^power as numbers of x's dtype, where they are normal."""
    return ((power + _BIAS[x.dtype]) << _MANTISSA[x.dtype]).from_bits()


def clamped(x: Vector, low: float, high: float) -> Vector:
    """x, or the nearer end; NaN stays."""
    x = where(x > high, high, x)
    return where(x < low, low, x)


# log(1 + f) = f − f²/2 + f³ P(f) on [√½ − 1, √2 − 1], to 7.5e-10 of its value.
_LOG = (
    0.333333126, -0.250000096, 0.200021205, -0.166679963, 0.142195136, -0.124055526, 0.118884277,
    -0.116760152, 0.0674648558,
)  # fmt: skip
# log(1 + f) = 2s + s³ P(s²) with s = f / (2 + f), to 2.5e-18 in s³ P.
_LOG_OF_QUOTIENT = (
    0.66666666666667345, 0.39999999999413929, 0.28571428742568538, 0.22222198553214378,
    0.18183565433766919, 0.15314020501514835, 0.14796266860925351,
)  # fmt: skip
_ROOT_HALF_BITS = {FLOAT32: 0x3F3504F3, FLOAT64: 0x3FE6A09E667F3BCD}
_LEAST_NORMAL = {FLOAT32: 2.0**-126, FLOAT64: 2.0**-1022}


def log(x: Vector) -> Vector:
    n, f, rest = _log_parts(x)
    high, low = _LN2_PARTS[x.dtype]
    return _with_poles(x, n.fma(high, f + n.fma(low, rest)))


# log₂ e in two parts.
_LOG2_E = {FLOAT32: (1.4426950216293335, 1.925963033500011e-08), FLOAT64: (1 / LN2, 0.0)}


def log2(x: Vector) -> Vector:
    n, f, rest = _log_parts(x)
    factor, error = (
        (1 / LN2, 0.0) if x.dtype == FLOAT64 else (1.4426950216293335, 1.925963033500011e-08)
    )
    return _with_poles(x, n + f.fma(factor, f.fma(error, rest * (1 / LN2))))


def log10(x: Vector) -> Vector:
    if x.dtype == FLOAT64:
        return library("log10", x)
    n, f, rest = _log_parts(x)
    # log₁₀ 2 and log₁₀ e, each in two parts.
    tail = n.fma(4.605039066518657e-06, f.fma(-1.0103049952192578e-08, rest * 0.434294482))
    return _with_poles(x, n.fma(0.301025390625, f.fma(0.4342944920063019, tail)))


def log1p(x: Vector) -> Vector:
    """The logarithm of u = 1 + x rounded, whose rounding error is put back into its fraction."""
    u = x + 1
    error = where(x > 1, 1 - (u - x), x - (u - 1))
    n, f = _split(u)
    f = (error * 0.5).fma(_power_of_two(1 - n, x), f)  # 2⁻ⁿ itself is not always normal
    rest, n = _log_rest(f), n.astype(x.dtype)
    high, low = _LN2_PARTS[x.dtype]
    return _with_poles(u, n.fma(high, f + n.fma(low, rest))).copysign(x)


def _log_parts(x: Vector) -> tuple[Vector, Vector, Vector]:
    """(n, f, rest) with log x = n ln 2 + f + rest, for x > 0, subnormal too."""
    mantissa = _MANTISSA[x.dtype]
    small = x < _LEAST_NORMAL[x.dtype]
    n, f = _split(where(small, x * 2.0**mantissa, x))
    n = where(small, n - mantissa, n).astype(x.dtype)
    return n, f, _log_rest(f)


def _split(x: Vector) -> tuple[Vector, Vector]:
    """(n, f) with x = 2ⁿ(1 + f) and √½ ≤ 1 + f < √2."""
    mantissa, root = _MANTISSA[x.dtype], _ROOT_HALF_BITS[x.dtype]
    above = x.bits() - root
    fraction = (above & (2**mantissa - 1)) + root
    return above >> mantissa, fraction.from_bits() - 1


def _log_rest(f: Vector) -> Vector:
    """log(1 + f) − f."""
    square = f * f
    if f.dtype == FLOAT32:
        return square.fma(-0.5, (f * square) * polynomial(f, _LOG))
    s, half = f / (f + 2), square * 0.5
    z = s * s
    return s.fma(half + z * polynomial(z, _LOG_OF_QUOTIENT), -half)


def _with_poles(x: Vector, y: Vector) -> Vector:
    """A logarithm y of x where 0 < x < ∞, and its limits and NaN elsewhere."""
    regular = (x > 0) & (x < math.inf)
    pole = where(x.equals(0), -math.inf, where(x < 0, math.nan, x))
    return where(regular, y, pole)


# tanh x = x + x³ P(x²) for |x| ≤ 0.8 in float32, to 4.0e-9 of its value, and for |x| ≤ 0.35 in
# float64, to 2.0e-19.
_TANH = {
    FLOAT32: (-0.333332949, 0.133321604, -0.0538474901, 0.0212862953, -0.00738365824,
              0.00156992343),
    FLOAT64: (-0.33333333333333314, 0.13333333333327169, -0.05396825396166403,
              0.021869488190302926, -0.0088632252428991955, 0.0035919427037315841,
              -0.0014537670149246405, 5.7599094318433318e-4, -1.8513247150549129e-4),
}  # fmt: skip
# erf x = x + x P(x²) for |x| ≤ 0.92, to 1.6e-8 of its value.
_ERF = (0.128379149, -0.376124889, 0.112817648, -0.0267647272, 0.0049903764, -0.000597642109)
# log₂ erfc x for 0.92 ≤ x ≤ 3.93, from where erf is 1 in float32, to 1.5e-9 of erf's value.
_LOG2_ERFC = (
    -0.000287567134, -1.62686813, -0.919303429, -0.149900223, 0.0320453638, -0.0043847712,
    0.000282070286,
)  # fmt: skip
# 2^r = 1 + r P(r) for |r| ≤ 1/2, to 9.2e-8: what is taken from 1 below may be less exact.
_EXP2_SHORT = (0.693146976, 0.240222404, 0.0555073523, 0.00967162295, 0.00132645317)


def tanh(x: Vector) -> Vector:
    size, square = abs(x), x * x
    small = (x * square).fma(polynomial(square, _TANH[x.dtype]), x)
    if x.dtype == FLOAT64:
        t = expm1(where(size > 20, 20, size) * 2)
        return where(size >= 0.35, t / (t + 2), small).copysign(x)
    near_end = where(size > 9.02, 9.02, size)
    shifted = near_end.fma(2 / LN2, _ROUNDER[FLOAT32])
    r = near_end.fma(2 / LN2, _ROUNDER[FLOAT32] - shifted)
    large = 1 - 2 / (_exp2_of_parts(shifted, r) + 1)
    return where(size >= 0.8, large, small).copysign(x)


def erf(x: Vector) -> Vector:
    if x.dtype == FLOAT64:
        return library("erf", x)
    size, square = abs(x), x * x
    small = x.fma(polynomial(square, _ERF), x)
    exponent = polynomial(where(size > 3.93, 3.93, size), _LOG2_ERFC)
    shifted = exponent + _ROUNDER[FLOAT32]
    large = 1 - _exp2_of_parts(shifted, exponent - (shifted - _ROUNDER[FLOAT32]))
    return where(size >= 0.92, large, small).copysign(x)


def _exp2_of_parts(shifted: Vector, r: Vector) -> Vector:
    """2^(n + r) where it is normal; shifted is n + rounder. What NaN gives may be a number."""
    fraction = r.fma(polynomial(r, _EXP2_SHORT), 1)
    return (fraction.bits() + (shifted.bits() << _MANTISSA[FLOAT32])).from_bits()


# sin r = r + r³ P(r²) and cos r = 1 − r²/2 + r⁴ P(r²) for |r| ≤ π/4, to 4.9e-12 and 9.6e-11.
_SIN = (-0.166666666, 0.00833332936, -0.000198393271, 2.71823662e-6)
_COS = (0.0416666467, -0.00138873614, 2.44377226e-5)
# π/2 in three parts: with fused multiplication each of the three remainders is nearly exact.
_HALF_PI = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
_SIN_LIMIT = 2.0**15


def sin(x: Vector) -> Vector:
    return where(abs(x) < 2.0**-27, x, _circular(x, "sin", 0))  # −0 keeps its sign


def cos(x: Vector) -> Vector:
    return _circular(x, "cos", 1)


def _circular(x: Vector, name: str, quarter: int) -> Vector:
    if x.dtype == FLOAT64:
        return library(name, x)
    far = ~(abs(x) < _SIN_LIMIT)
    usual = sine_of_turn(*quarters(x), quarter)
    return x.like(x.lanes.replaced(far.value, usual.value, lambda: library(name, x).value))


def quarters(x: Vector) -> tuple[Vector, Vector]:
    """(q, r) with x = q π/2 + r and |r| ≤ π/4, q an integer: for float32 that are not large."""
    shifted = x.fma(2 / math.pi, _ROUNDER[x.dtype])
    n = shifted - _ROUNDER[x.dtype]
    for part in _HALF_PI:
        x = n.fma(-part, x)
    return _whole(shifted), x


def sine_of_turn(quarter: Vector, r: Vector, more: int = 0) -> Vector:
    """sin(r + (quarter + more) π/2)."""
    z = r * r
    sine = (r * z).fma(polynomial(z, _SIN), r)
    cosine = z.fma(z.fma(polynomial(z, _COS), -0.5), 1)
    quarter = quarter + more
    value = where((quarter & 1).differs(0), cosine, sine)
    return (value.bits() ^ ((quarter & 2) << 30)).from_bits()


def library(name: str, *args: Vector) -> Vector:
    """The C library's function, lane by lane: for what is not worth vector code."""
    full = f"{name}f" if args[0].dtype == FLOAT32 else name
    values = [v.value for v in args]
    found = args[0].lanes.outlined(
        f"chainrule.{full}", values, lambda lanes, *values: lanes.lane_by_lane(full, values)
    )
    return args[0].like(found)
