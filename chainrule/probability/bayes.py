"""Bayes' theorem, exactly: conjugate priors, and networks of tables.

p(θ | x) = p(x | θ) p(θ) / p(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.arithmetic import square
from chainrule.ops.indexing import one_hot
from chainrule.ops.reduction import sum
from chainrule.ops.structure import expand_dims, permute_dims
from chainrule.probability import constraints
from chainrule.probability.bounded import Beta
from chainrule.probability.categorical import Categorical
from chainrule.probability.continuous import Normal
from chainrule.probability.discrete import Bernoulli, Binomial, Geometric, Poisson
from chainrule.probability.distribution import Distribution, _check, _named, _whole_number
from chainrule.probability.multivariate import Dirichlet
from chainrule.probability.positive import Exponential, Gamma, InverseGamma
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import Explained, explained
from chainrule.tensor.tensor import Tensor

Update = Callable[..., Distribution]
_updates: dict[tuple[type, type], Update] = {}


def _conjugate(prior: type, likelihood: type) -> Callable[[Update], Update]:
    def register(update: Update) -> Update:
        _updates[prior, likelihood] = update
        return update

    return register


@explained
def conjugate_posterior(
    prior: Distribution, likelihood: type[Distribution], data: Any, **known: Any
) -> Distribution:
    """What is known of a parameter after data, where the prior is conjugate.

    | prior | likelihood | parameter | known |
    |---|---|---|---|
    | `Beta` | `Bernoulli`, `Geometric` | `probs` | |
    | `Beta` | `Binomial` | `probs` | `total_count` |
    | `Gamma` | `Poisson`, `Exponential` | `rate` | |
    | `Gamma` | `Gamma` | `rate` | `concentration` |
    | `Normal` | `Normal` | `loc` | `scale` |
    | `InverseGamma` | `Normal` | the variance | `loc` |
    | `Dirichlet` | `Categorical` | `probs` | |

    Args:
        prior: the distribution of the parameter before.
        likelihood: the class of the distribution of the data.
        data: independent draws along the first axis; further axes belong to the prior's batch.
        known: the likelihood's other parameters.

    Raises:
        DataError: the prior is not conjugate, or data lie outside of the likelihood's support.

    >>> conjugate_posterior(Gamma(1.0, 1.0), Poisson, [3.0, 5.0])
    Gamma(concentration=9, rate=3)
    """
    with _named("conjugate_posterior"):
        if not isinstance(prior, Distribution) or not isinstance(likelihood, type):
            raise DTypeError("it takes a prior distribution and the class of the likelihood")
        update = _updates.get((type(prior), likelihood))
        if update is None:
            fits = [q.__name__ for p, q in _updates if p is type(prior)]
            hint = f"; of {', '.join(fits)} it is" if fits else ""
            raise DataError(
                f"{type(prior).__name__} is not conjugate to {likelihood.__name__}{hint}. Where no "
                "formula is known, sample, or fit the parameters of an approximation with "
                "estimate_kl."
            )
        x = as_operand(data)
        x = x if dtypes.is_float(x.dtype) else x.astype(prior.dtype)
        if x.ndim == 0:
            raise ShapeError("the data lie along the first axis, and this is a single number")
        try:
            return update(prior, x, **known)
        except TypeError as error:
            text = str(error).partition(")")[2]
            raise DTypeError(f"{likelihood.__name__}{text}: what is known is missing") from None


def _count(x: Tensor) -> float:
    return float(x.shape[0])


@_conjugate(Beta, Bernoulli)
def _coin(prior: Beta, x: Tensor) -> Beta:
    _check("data", x, constraints.boolean)
    heads = sum(x, 0)
    return Beta(prior.concentration1 + heads, prior.concentration0 + _count(x) - heads)


@_conjugate(Beta, Binomial)
def _coins(prior: Beta, x: Tensor, total_count: Any) -> Beta:
    n = as_operand(total_count).astype(x.dtype)
    _check("data", x, constraints.Integers(0, n))
    return Beta(prior.concentration1 + sum(x, 0), prior.concentration0 + sum(n - x, 0))


@_conjugate(Beta, Geometric)
def _waiting(prior: Beta, x: Tensor) -> Beta:
    _check("data", x, constraints.nonnegative_integer)
    return Beta(prior.concentration1 + _count(x), prior.concentration0 + sum(x, 0))


@_conjugate(Gamma, Poisson)
def _events(prior: Gamma, x: Tensor) -> Gamma:
    _check("data", x, constraints.nonnegative_integer)
    return Gamma(prior.concentration + sum(x, 0), prior.rate + _count(x))


@_conjugate(Gamma, Exponential)
def _lifetimes(prior: Gamma, x: Tensor) -> Gamma:
    _check("data", x, constraints.nonnegative)
    return Gamma(prior.concentration + _count(x), prior.rate + sum(x, 0))


@_conjugate(Gamma, Gamma)
def _rates(prior: Gamma, x: Tensor, concentration: Any) -> Gamma:
    _check("data", x, constraints.nonnegative)
    return Gamma(prior.concentration + _count(x) * concentration, prior.rate + sum(x, 0))


@_conjugate(Normal, Normal)
def _location(prior: Normal, x: Tensor, scale: Any) -> Normal:
    """Precisions add up, and the mean is weighted by them."""
    _check("data", x, constraints.real)
    own, each = 1 / square(prior.scale), 1 / square(as_operand(scale).astype(x.dtype))
    precision = own + _count(x) * each
    return Normal((own * prior.loc + each * sum(x, 0)) / precision, precision**-0.5)


@_conjugate(InverseGamma, Normal)
def _variance(prior: InverseGamma, x: Tensor, loc: Any) -> InverseGamma:
    _check("data", x, constraints.real)
    squares = sum(square(x - loc), 0)
    return InverseGamma(prior.concentration + 0.5 * _count(x), prior.rate + 0.5 * squares)


@_conjugate(Dirichlet, Categorical)
def _classes(prior: Dirichlet, x: Tensor) -> Dirichlet:
    k = prior.event_shape[0]
    _check("data", x, constraints.Integers(0, k - 1))
    counts = sum(one_hot(x.astype(dtypes.int64), k, dtype=prior.dtype), 0)
    return Dirichlet(prior.concentration + counts)


# Networks

Table = tuple[Sequence[str], Any]


class BayesianNetwork(Explained):
    """Discrete variables, each with a table of its probabilities given its parents.

    p(x₁, …, x_n) = ∏ p(x_i | parents of x_i).

    Args:
        tables: name -> (names of its parents, table), the table of shape (states of each parent …,
            states of the variable); it adds up to 1 along the last axis. Tensors keep their
            derivatives.

    Raises:
        DataError: a cycle, an unknown parent, or a table that holds no probabilities.
        ShapeError: a table whose shape does not fit its parents.

    >>> net = BayesianNetwork({"sick": ((), [0.99, 0.01]),
    ...                        "test": (("sick",), [[0.95, 0.05], [0.1, 0.9]])})
    >>> round(net.query("sick", {"test": 1}).numpy()[1].item(), 4)  # Bayes' theorem
    0.1538
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        with _named("BayesianNetwork"):
            self.parents: dict[str, tuple[str, ...]] = {}
            self.tables: dict[str, Tensor] = {}
            if not isinstance(tables, Mapping):
                raise DTypeError(f"it takes a dictionary of tables, not {type(tables).__name__}")
            for name, entry in tables.items():
                pair = isinstance(entry, (tuple, list)) and len(entry) == 2
                if not pair or not isinstance(entry[0], (tuple, list)):
                    raise DTypeError(f"{name!r} is given by (names of its parents, table)")
                self.parents[name] = tuple(entry[0])
                table = as_operand(entry[1])
                table = table if dtypes.is_float(table.dtype) else table.astype(dtypes.float64)
                if table.ndim != len(self.parents[name]) + 1 or table.shape[-1] == 0:
                    raise ShapeError(
                        f"the table of {name!r} has an axis for each of {self.parents[name]} and "
                        f"one for itself; it is of shape {table.shape}"
                    )
                _check(f"the table of {name!r}", table, constraints.simplex)
                self.tables[name] = table
            self.states = {name: table.shape[-1] for name, table in self.tables.items()}
            self._look_at_parents()
            self.order = self._ordered()

    def _look_at_parents(self) -> None:
        for name, parents in self.parents.items():
            for i, parent in enumerate(parents):
                if parent not in self.tables:
                    raise DataError(f"{parent!r}, a parent of {name!r}, has no table")
                if self.tables[name].shape[i] != self.states[parent]:
                    raise ShapeError(
                        f"{parent!r} has {self.states[parent]} states, and axis {i} of the table "
                        f"of {name!r} is of size {self.tables[name].shape[i]}"
                    )

    def _ordered(self) -> list[str]:
        """Parents before their children."""
        order: list[str] = []
        waiting = list(self.parents)
        while waiting:
            ready = [n for n in waiting if all(p in order for p in self.parents[n])]
            if not ready:
                raise DataError(f"there is a cycle among {', '.join(map(repr, waiting))}")
            order += ready
            waiting = [n for n in waiting if n not in ready]
        return order

    def query(
        self, names: str | Sequence[str], evidence: Mapping[str, int] | None = None
    ) -> Tensor:
        """P(names | evidence), an axis for each name, by variable elimination.

        Of the variables that are not asked for, the one whose removal makes the smallest table goes
        first (Zhang, Poole 1994). Cost grows with the largest table, not with all states together.

        Args:
            names: one variable or several.
            evidence: name -> the number of the state that was seen.

        Raises:
            DataError: an unknown name or state, or evidence that cannot be.
        """
        with _named("BayesianNetwork.query"):
            asked = (names,) if isinstance(names, str) else tuple(names)
            seen = dict(evidence or {})
            self._look_at(asked, seen)
            joint = self._eliminate(asked, seen)
            total = sum(joint)
            if total._value is not None and not total._value > 0:
                raise DataError(f"the evidence {seen} has the probability 0")
            return joint / total

    def probability(self, evidence: Mapping[str, int]) -> Tensor:
        """P(evidence), all other variables summed over."""
        with _named("BayesianNetwork.probability"):
            self._look_at((), dict(evidence))
            return self._eliminate((), dict(evidence))

    def sample(self, n: int, *, generator: Any = None) -> dict[str, Tensor]:
        """n draws of all variables, each after its parents."""
        drawn: dict[str, Tensor] = {}
        with _named("BayesianNetwork.sample"):
            for name in self.order:
                table = self.tables[name]
                if self.parents[name]:
                    table = table[tuple(drawn[parent] for parent in self.parents[name])]
                shape = (n,) if not self.parents[name] else ()
                drawn[name] = Categorical(probs=table).sample(shape, generator=generator)
        return drawn

    def _look_at(self, asked: tuple[str, ...], seen: dict[str, int]) -> None:
        for name in (*asked, *seen):
            if name not in self.tables:
                raise DataError(
                    f"there is no variable {name!r}; there are {', '.join(self.tables)}"
                )
        for name, state in seen.items():
            _whole_number(state, f"the state of {name!r}", 0, self.states[name] - 1)
            if name in asked:
                raise DataError(f"{name!r} is both asked for and seen")
        if len(set(asked)) < len(asked):
            raise DataError(f"a variable is asked for twice in {asked}")

    def _eliminate(self, asked: tuple[str, ...], seen: dict[str, int]) -> Tensor:
        factors = []
        for name in self._relevant((*asked, *seen)):
            axes, table = (*self.parents[name], name), self.tables[name]
            key = tuple(int(seen[a]) if a in seen else slice(None) for a in axes)
            factors.append((tuple(a for a in axes if a not in seen), table[key]))
        hidden = {a for axes, _ in factors for a in axes} - set(asked)
        while hidden:
            name = min(sorted(hidden), key=lambda h: self._size(factors, h))
            touched = [f for f in factors if name in f[0]]
            factors = [f for f in factors if name not in f[0]]
            axes, table = self._product(touched)
            where = axes.index(name)
            factors.append((axes[:where] + axes[where + 1 :], sum(table, where)))
            hidden.remove(name)
        axes, table = self._product(factors)
        return permute_dims(table, tuple(axes.index(a) for a in asked)) if asked else table

    def _relevant(self, names: Sequence[str]) -> list[str]:
        """The names and their ancestors: what is below and unseen sums to 1."""
        found, waiting = set(), list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.parents[name])
        return [name for name in self.order if name in found]

    def _size(self, factors: Sequence[tuple], name: str) -> int:
        axes = {a for f in factors if name in f[0] for a in f[0]}
        return math.prod(self.states[a] for a in axes)

    def _product(self, factors: Sequence[tuple[tuple[str, ...], Tensor]]) -> tuple:
        """(axes, table) of the product of factors, each spread over all axes."""
        axes: tuple[str, ...] = ()
        for names, _ in factors:
            axes += tuple(n for n in names if n not in axes)
        product: Any = None
        for names, table in factors:
            order = [names.index(axis) for axis in axes if axis in names]
            table = permute_dims(table, tuple(order)) if len(order) > 1 else table
            for i, axis in enumerate(axes):
                if axis not in names:
                    table = expand_dims(table, i)
            product = table if product is None else product * table
        return axes, product if product is not None else Tensor(np.ones(()))
