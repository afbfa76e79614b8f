"""Named rewriting rules, and the order in which they are applied.

A rule is a small function of one term: what to write instead, or None. It is declared with the
name by which a person calls it. `simplify` applies rules wherever they fit, one rule at a time,
until none makes the expression shorter. A *tentative* rule may make it longer at first (multiplying
out): it is kept if what follows from it ends up shorter. Every rewriting lowers `Term.cost`, so
this ends. The rules that are *last* come after, once each: they write what is shortest as it is
usually written.

>>> from chainrule.calculus.derive import terms
>>> x = terms.variable("x", (3,))
>>> product = terms.product([(x, [0]), (terms.ones((3,)), [0])], [0], {0: 3})
>>> after, steps = simplify(terms.total([(1, x), (1, product)], (3,)))
>>> [step.rule for step in steps], after
(['a factor 1'], <Sum 2 x>)
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from chainrule.calculus.derive.terms import Sum, Term, replaced, topological, variable, weight

Rewrite = Callable[[Term], Term | None]


@dataclass(frozen=True, eq=False)
class Rule:
    """A named rewriting; `tentative`, `last` and `order` say when it is tried."""

    name: str
    rewrite: Rewrite
    tentative: bool = False
    last: bool = False
    order: int = 0


@dataclass(frozen=True)
class Rewriting:
    """One step: the whole expression before and after a rule was applied."""

    rule: str
    before: Term
    after: Term


_rules: list[Rule] = []


def rule(
    name: str, *, tentative: bool = False, last: bool = False, order: int = 0
) -> Callable[[Rewrite], Rewrite]:
    """Declare a rule. Those of a lower `order` are tried first."""

    def declare(rewrite: Rewrite) -> Rewrite:
        _rules.append(Rule(name, rewrite, tentative, last, order))
        return rewrite

    return declare


def all_rules() -> list[Rule]:
    """Every declared rule, in the order in which they are tried."""
    import chainrule.calculus.derive as package

    for module in sorted(m.name for m in iter_modules(package.__path__)):
        if module.startswith("rules_"):
            import_module(f"{package.__name__}.{module}")
    return sorted(_rules, key=lambda r: r.order)


_LONG = 8
"""The cost from which a sum that a person has written stays as it is."""

_MOST = 80
"""Of how many parts an expression may be for which tentative rules are tried."""

_WORK = 20_000
"""How often, in one simplification, a rule is tried on a term before tentative rules are given up.
Counted, not timed: a formula is the same on every machine."""

_FLAT = ("products are associative",)
"""Rules that write products in products as one, after those that are last."""


class _Search:
    """One simplification; remembers where a rule does nothing."""

    def __init__(self, kept: frozenset[Term]) -> None:
        rules = all_rules()
        self.sure = [r for r in rules if not (r.tentative or r.last)]
        self.tentative = [r for r in rules if r.tentative]
        self.last = [r for r in rules if r.last]
        self.flat = [r for r in self.sure if r.name in _FLAT]
        self.kept = kept
        self.known: defaultdict[Rule, dict[Term, Term]] = defaultdict(dict)
        self.settled: dict[tuple[Term, int], list[tuple[str, Term]]] = {}
        self.work = 0

    def at(self, rule: Rule, term: Term) -> Term:
        """A term with the rule applied to it, its parts left alone, as often as it fits."""
        self.work += 1
        while True:
            new = rule.rewrite(term)
            if new is None or new.cost >= term.cost or (term.kind in "iu" and new.kind == "f"):
                return term  # whole numbers, which may be indices, stay whole
            term = new

    def everywhere(self, rule: Rule, root: Term) -> Term:
        known = self.known[rule]
        stack = [root]
        while stack:
            term = stack[-1]
            if term in known:
                stack.pop()
                continue
            waiting = [a for a in term.args if a not in known]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            args = tuple(known[a] for a in term.args)
            known[term] = self.at(rule, term if args == term.args else term.over(args))
        return known[root]

    def sure_steps(self, term: Term) -> list[tuple[str, Term]]:
        """Rules that only make it shorter, to the end."""
        steps: list[tuple[str, Term]] = []
        changed = True
        while changed:
            changed = False
            for rule in self.sure:
                new = self.everywhere(rule, term)
                if new.cost < term.cost:
                    steps.append((rule.name, new))
                    term, changed = new, True
                    break
        return steps

    def attempt(self, term: Term, depth: int) -> list[tuple[str, Term]]:
        """Steps that begin with a tentative rule at this very term and end up shorter, or none."""
        key = term, depth
        if key not in self.settled:
            self.settled[key] = []  # one that is under way is not begun again inside of itself
            self.settled[key] = self._attempt(term, depth)
        return self.settled[key]

    def _attempt(self, term: Term, depth: int) -> list[tuple[str, Term]]:
        best: list[tuple[str, Term]] = []
        lightest = 0.0
        for rule in self.tentative:
            new = rule.rewrite(term)
            if new is None or new is term:
                continue
            steps = [(rule.name, new), *self.sure_steps(new)]
            if depth > 1:
                steps += self.follow(steps[-1][1], depth - 1)
            now = steps[-1][1]
            if now.cost < term.cost and (not best or weight(now) < lightest):
                best, lightest = steps, weight(now)
        return best

    def follow(self, root: Term, depth: int) -> list[tuple[str, Term]]:
        """What tentative rules can do for a term, and for its parts."""
        steps: list[tuple[str, Term]] = []
        while True:
            more = self.first(root, depth)
            if not more:
                return steps
            steps += more
            steps += self.sure_steps(steps[-1][1])
            root = steps[-1][1]

    def first(self, root: Term, depth: int) -> list[tuple[str, Term]]:
        """The first place, from the outside in, where a tentative rule pays."""
        heavy, parts = weight(root), topological(root)
        for term in reversed(parts) if len(parts) <= _MOST else ():
            if self.work > _WORK:
                break
            steps = self.attempt(term, depth)
            if steps and weight(replaced(root, {term: steps[-1][1]})) <= heavy:
                return [(name, replaced(root, {term: new})) for name, new in steps]
        return []

    def last_steps(self, root: Term) -> list[tuple[str, Term]]:
        """The rules of how things are usually written."""
        steps: list[tuple[str, Term]] = []
        for rule in self.last:
            done: dict[Term, Term] = {}
            for term in topological(root):
                inside = term.over(tuple(done[a] for a in term.args)) if term.args else term
                done[term] = rule.rewrite(inside) or inside
            if done[root] is not root:
                root = done[root]
                for flat in self.flat:
                    root = self.everywhere(flat, root)
                steps.append((rule.name, root))
        return steps

    def run(self, term: Term) -> list[tuple[str, Term]]:
        steps = self.sure_steps(term)
        now = steps[-1][1] if steps else term
        whole: dict[Term, Term] = {
            t: variable(f"part {k}", t.shape)
            for k, t in enumerate(topological(now))
            if t in self.kept and isinstance(t, Sum) and len(t.args) > 1 and t.cost >= _LONG
        }
        parts: dict[Term, Term] = {v: t for t, v in whole.items()}
        inside = replaced(now, whole)
        tried = self.follow(inside, 2)
        steps += [(name, _restored(found, parts)) for name, found in tried]
        now = steps[-1][1] if steps else term
        steps += self.sure_steps(now)
        return steps + self.last_steps(steps[-1][1] if steps else term)


def _restored(term: Term, parts: Mapping[Term, Term]) -> Term:
    """A term with the parts of parts in their places."""
    while parts.keys() & term.variables:
        term = replaced(term, parts)
    return term


def simplify(term: Term, kept: Iterable[Term] = ()) -> tuple[Term, list[Rewriting]]:
    """(the shortest form that the rules lead to, every rewriting on the way to it).

    Args:
        kept: parts that a person has written. The sums among them that are long stay as they are
            while rules are tried: each counts as one letter.
    """
    way: list[tuple[str, Term]] = [("", term)]
    for name, after in _Search(frozenset(kept)).run(term):
        met = next((k for k, (_, t) in enumerate(way) if t is after), None)
        if met is None:
            way.append((name, after))
        else:
            del way[met + 1 :]  # what led back to where it came from is no step
    rewritings: list[Rewriting] = []
    for (_, before), (name, after) in itertools.pairwise(way):
        if rewritings and rewritings[-1].rule == name:
            rewritings[-1] = Rewriting(name, rewritings[-1].before, after)
        else:
            rewritings.append(Rewriting(name, before, after))
    return way[-1][1], rewritings


def tidied(term: Term) -> Term:
    """A term as it was written, but for what only makes it longer: factors 1, sums of nothing."""
    steps = _Search(frozenset()).sure_steps(term)
    return steps[-1][1] if steps else term


def names(rewritings: Sequence[Rewriting]) -> list[str]:
    """The rules that were used, in order, each once."""
    return list(dict.fromkeys(r.rule for r in rewritings))
