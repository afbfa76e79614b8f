"""What a tear-out proof measures with: every proof that `proof.script` writes begins with the text
of this file, from the imports on. It is plain Python, needs the standard library only, and has no
number of its own that could be altered."""

import functools
import math
import operator
import statistics
from fractions import Fraction
from math import inf, nan

ZERO = math.fsum(())  # a literal could be altered without being seen; an empty sum cannot
ONE = math.exp(ZERO)

UNIT = nan  # how far one operation may be off, relative to its result; a proof says what it is here
SMALLEST = nan  # the smallest result that has all of its digits; one below is off by as much
asserted: list[str] = []  # everything that has been asserted


def sure(what, holds):
    """Assert something; the whole proof ends here if it does not hold."""
    if not holds:
        raise SystemExit(f"does not hold: {what}")
    asserted.append(what)


class Real:
    """A number, and how far rounding may have put it off (a running error analysis: N. J. Higham,
    Accuracy and Stability of Numerical Algorithms, the chapter on basics)."""

    def __init__(self, value, error=ZERO):
        self.value, self.error = value, error

    def __add__(self, other):
        return rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other):
        a, b = abs(self.value), abs(other.value)
        error = a * other.error + b * self.error + self.error * other.error
        return rounded(self.value * other.value, error)

    def __truediv__(self, other):
        return quotient(self, other)

    def __pow__(self, other):
        return power(self, other)

    def __neg__(self):
        return Real(-self.value, self.error)

    def __lt__(self, other):
        return truth(self.value < other.value)

    def __gt__(self, other):
        return truth(self.value > other.value)

    def __le__(self, other):
        return truth(self.value <= other.value)

    def __ge__(self, other):
        return truth(self.value >= other.value)

    def __eq__(self, other):
        return truth(self.value == other.value)

    def __ne__(self, other):
        return truth(self.value != other.value)

    def __bool__(self):
        return bool(self.value)


def rounded(value, error=ZERO):
    """The result of an operation, which is rounded once more."""
    return Real(value, error + UNIT * (abs(value) + SMALLEST))


def truth(holds):
    return Real(float(holds))


def both(a, b):
    return truth(bool(a) and bool(b))


def either(a, b):
    return truth(bool(a) or bool(b))


def opposite(a):
    return truth(not a)


def function(plain):
    """A function of numbers made one of numbers with errors: what it gives at the ends of the
    errors says how far it may be off."""

    def value(numbers):
        try:
            return plain(*numbers)
        except OverflowError:
            return inf
        except (ValueError, ZeroDivisionError):
            return nan

    def of(*arguments):
        centre = value([a.value for a in arguments])
        moved = [
            abs(value([end if b is a else b.value for b in arguments]) - centre)
            for a in arguments
            for end in (a.value - a.error, a.value + a.error)
        ]
        return rounded(centre, sum(change for change in moved if change == change))

    return of


def divide(a, b):
    if b:
        return a / b
    return math.copysign(inf, a) * math.copysign(inf, b) if a else nan


quotient = function(divide)
power = function(lambda a, b: math.pow(a, b) if a or b >= -b else inf)
log = function(lambda x: math.log(x) if x else -inf)
log1p = function(lambda x: math.log1p(x) if x + ONE else -inf)
sign = function(lambda x: (x > -x) - (x < -x))
Φ = function(statistics.NormalDist().cdf)
expm1, sqrt, fabs = (function(f) for f in (math.expm1, math.sqrt, math.fabs))
exp_of = function(math.exp)
sin, cos, tan = (function(f) for f in (math.sin, math.cos, math.tan))
asin, acos, atan, atan2 = (function(f) for f in (math.asin, math.acos, math.atan, math.atan2))
sinh, cosh, tanh = (function(f) for f in (math.sinh, math.cosh, math.tanh))
asinh, acosh, atanh = (function(f) for f in (math.asinh, math.acosh, math.atanh))
floor, ceil, trunc = (function(f) for f in (math.floor, math.ceil, math.trunc))
erf, erfc, gamma, lgamma = (function(f) for f in (math.erf, math.erfc, math.gamma, math.lgamma))
nearest, larger, smaller = function(round), function(max), function(min)
bitand, bitor, bitxor = (
    function(lambda a, b, f=f: f(int(a), int(b)))
    for f in (operator.and_, operator.or_, operator.xor)
)
bitnot = function(lambda a: ~int(a))


def exp(x):
    """e to the power of x, of which a network may round the exponent: it takes the largest out."""
    return exp_of(rounded(x.value, x.error))


def total(terms):
    """Σ, added up without rounding; a network adds up in some order, and rounds at each step."""
    values = [term.value for term in terms]
    size = sum(map(abs, values))
    added = math.fsum(values) if size < inf else sum(values)
    error = sum(term.error for term in terms)
    return Real(added, error + UNIT * (math.sqrt(len(values)) * size + SMALLEST))


def product(terms):
    return functools.reduce(operator.mul, terms, truth(True))


def largest(terms):
    values = [term.value for term in terms]
    found = nan if any(v != v for v in values) else max(values, default=-inf)
    return Real(found, max((term.error for term in terms), default=ZERO))


def least(terms):
    return -largest([-term for term in terms])


def where_largest(terms):
    return Real(float([t.value for t in terms].index(max(t.value for t in terms))))


def where_least(terms):
    return where_largest([-term for term in terms])


def log_sum_exp(terms):
    """log Σ exp, with the largest exponent taken out first, so that nothing overflows."""
    peak = Real(largest(terms).value)
    if abs(peak.value) == inf:
        return peak
    return log(total([exp(term - peak) for term in terms])) + peak


def chosen(then, condition, otherwise):
    return then if condition else otherwise


def taken(value, condition):
    """A branch, and that the condition for it holds."""
    sure("the condition of the branch that is taken", condition)
    return value


def number(text, value):
    """A constant, written twice, so that neither can be altered."""
    sure(f"the constant {text}", float(text) == value)
    return rounded(value)


class Table(dict):
    """Numbers of one array, exact ones unless `kind` is `rounded`. Altering any of them, however
    little, alters their exact sum."""

    def __init__(self, name, numbers, exact_sum, kind=Real):
        super().__init__((index, kind(value)) for index, value in numbers.items())
        self.name, self.proved = name, set()
        finite = [value for value in numbers.values() if abs(value) < inf]
        exact = sum(map(Fraction, finite)) == Fraction(exact_sum)
        sure(f"the exact sum of the numbers of {name} is {exact_sum}", exact)

    def follows(self, index, calculated):
        """Assert that an element is what the calculation gives, within its rounding."""
        stated, found = self[index].value, calculated.value
        same = stated == found or (stated != stated and found != found)
        bound = calculated.error + UNIT * (abs(stated) + SMALLEST)
        what = f"{self.name}[{index}] = {stated!r}; calculated: {found!r}, within {bound!r}"
        sure(what, same or abs(stated - found) <= bound)
        self.proved.add(index)
