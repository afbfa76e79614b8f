"""The one parser of formulas: tokens, then recursive descent by precedence."""

from __future__ import annotations

import re

from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Expression,
    Flat,
    Name,
    Number,
    Reduce,
    Size,
    Statement,
    Subscript,
    Unary,
)


class FormulaError(ValueError):
    """A formula that cannot be read or evaluated; the message points at the place."""


_LETTER = r"[^\W\d_Σ²³]"
_WORD = rf"{_LETTER}(?:[^\W²³Σ]|[′\u0302])*"  # U+0302 is the hat of m̂
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<reduce>Σ|Π|(?:argmax|argmin|max|min)(?=_))"
    rf"|(?P<name>{_WORD}²(?=\[)|{_WORD})"
    r"|(?P<symbol><=|>=|!=|==|[-−+*·/^²³√()\[\]{}⟨⟩,;=≠<>≤≥|…_∞])"
    r"|(?P<end>\Z)|(?P<bad>\S))"
)
_KEYWORDS = {"if", "else", "and", "or", "not"}
_SAME = {"−": "-", "*": "·", "==": "=", "!=": "≠", "<=": "≤", ">=": "≥"}
_COMPARISONS = ("=", "≠", "<", ">", "≤", "≥")
_POWERS = {"²": "2", "³": "3"}


class Parser:
    """Reads one formula's text into statements."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while not self.tokens or self.tokens[-1][0] != "end":
            match = _TOKEN.match(text, position)
            assert match is not None
            kind = str(match.lastgroup)
            value = match.group(kind)
            if kind == "bad":
                raise self._error(f"{value!r} means nothing here", match.start(kind))
            if kind == "name" and value in _KEYWORDS:
                kind = "symbol"
            self.tokens.append((kind, _SAME.get(value, value), match.start(kind)))
            position = match.end()
        self.at = 0

    def _error(self, message: str, position: int | None = None) -> FormulaError:
        if position is None:
            position = self.tokens[self.at][2]
        return FormulaError(f"{message}\n  {self.text}\n  {' ' * position}^")

    def _peek(self, *values: str) -> bool:
        kind, value, _ = self.tokens[self.at]
        return kind == "symbol" and value in values

    def _take(self, *values: str) -> str | None:
        if self._peek(*values):
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def _expect(self, value: str) -> None:
        if not self._take(value):
            raise self._error(f"{value!r} is expected here")

    def _name(self) -> str:
        kind, value, _ = self.tokens[self.at]
        if kind != "name":
            raise self._error("a name is expected here")
        self.at += 1
        return value

    def statements(self) -> tuple[Statement, ...]:
        found = [self._statement()]
        while self._take(";"):
            found.append(self._statement())
        if self.tokens[self.at][0] != "end":
            raise self._error("the formula should have ended here")
        return tuple(found)

    def _statement(self) -> Statement:
        start = self.at
        if self.tokens[start][0] == "name":
            target = self._atom()
            named = isinstance(target, (Subscript, Flat))
            if isinstance(target, Name):
                named = target.name == "y" or target.name.endswith("′") or ";" in self.text
            if named and self._take("="):
                return Statement(target, self._expression())  # type: ignore[arg-type]
            self.at = start
        return Statement(Name("y"), self._expression())

    def _expression(self) -> Expression:
        value = self._or()
        if not self._take("if"):
            return value
        condition = self._or()
        self._expect("else")
        return Choice(value, condition, self._expression())

    def _or(self) -> Expression:
        value = self._and()
        while self._take("or"):
            value = Binary("or", value, self._and())
        return value

    def _and(self) -> Expression:
        value = self._not()
        while self._take("and"):
            value = Binary("and", value, self._not())
        return value

    def _not(self) -> Expression:
        if self._take("not"):
            return Unary("not", self._not())
        left = self._sum()
        operator = self._take(*_COMPARISONS)
        return Binary(operator, left, self._sum()) if operator else left

    def _sum(self) -> Expression:
        value = self._term()
        while operator := self._take("+", "-"):
            value = Binary(operator, value, self._term())
        return value

    def _term(self) -> Expression:
        value = self._unary()
        while operator := self._take("·", "/"):
            value = Binary(operator, value, self._unary())
        return value

    def _unary(self) -> Expression:
        if self._take("-"):
            return Unary("-", self._unary())
        if self.tokens[self.at][0] == "reduce":
            return self._reduce()
        return self._power()

    def _reduce(self) -> Expression:
        """Σ_k, Σ_{u, v}, Σ_{k ≤ i}: it reaches as far as a product does."""
        word = self.tokens[self.at][1]
        self.at += 1
        self._expect("_")
        condition = None
        if self._take("{"):
            start = self.at
            names = [self._name()]
            while self._take(","):
                names.append(self._name())
            if not self._peek("}"):
                self.at = start
                condition = self._or()
            self._expect("}")
        else:
            names = [self._name()]
        return Reduce(word, tuple(names), condition, self._term())

    def _power(self) -> Expression:
        value = self._atom()
        while True:
            if operator := self._take("²", "³"):
                value = Binary("^", value, Number(_POWERS[operator]))
            elif self._take("^"):
                value = Binary("^", value, self._unary())
            else:
                return value

    def _atom(self) -> Expression:
        kind, value, _ = self.tokens[self.at]
        if kind == "number":
            self.at += 1
            return Number(value)
        if kind == "name":
            return self._named()
        if self._take("∞"):
            return Name("∞")
        if self._take("("):
            inside = self._expression()
            self._expect(")")
            return inside
        if self._take("|"):
            size = Size(self._name())
            self._expect("|")
            return size
        if self._take("√"):
            return Call("√", (self._atom(),))
        raise self._error("an expression is expected here")

    def _named(self) -> Expression:
        name = self._name()
        if self._take("("):
            arguments = [self._expression()]
            while self._take(","):
                arguments.append(self._expression())
            self._expect(")")
            return Call(name, tuple(arguments))
        if self._take("["):
            indices: list[Expression | None] = []
            while True:
                indices.append(None if self._take("…") else self._sum())
                if not self._take(","):
                    break
            self._expect("]")
            if indices.count(None) > 1:
                raise self._error("there is at most one … among the indices")
            return Subscript(name, tuple(indices))
        if self._take("⟨"):
            flat = Flat(name, self._name())
            self._expect("⟩")
            return flat
        return Name(name)
