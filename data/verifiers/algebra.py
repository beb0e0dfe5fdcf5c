"""Exact arithmetic with roots, pi, e, i and variables, for comparing the answers of mathematics problems.

A value is a quotient of two polynomials with rational coefficients. Their unknowns are variables, constants, functions
of other values (taken as unknowns of their own), the imaginary unit (i * i = -1) and roots of prime numbers (a root's
integer powers go into the coefficient). Products of different prime roots are linearly independent over the rationals
(Besicovitch 1940), so a value is zero exactly when no term is left: no floats, no simplification by search.

Stricter than a computer algebra system: roots of sums, and functions, equal only what has the same argument. Every
operation draws on a budget, so that no expression, however short, costs more than a fixed number of steps.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import Any, NamedTuple

Atom = tuple[Any, ...]
Monomial = tuple[tuple[Atom, Fraction], ...]
Polynomial = dict[Monomial, Fraction]

BUDGET = 6_000
MAX_TERMS = 64
MAX_BITS = 2_048
MAX_EXPONENT = 1_000
MAX_RADICAND = 10**8
"""Larger numbers are not factored: their roots are unknowns of their own, but for perfect squares."""

_UNIT: Atom = ("i",)


class TooLargeError(ValueError):
    """The expression needs more steps, terms or digits than an answer may."""


class Undefined(ValueError):  # noqa: N818
    """Division by zero, or zero to a power that is not positive."""


class Value(NamedTuple):
    """A quotient of two polynomials; the denominator is not zero."""

    num: Polynomial
    den: Polynomial


class Ring:
    """Operations on values, with one budget of steps for all of them."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self._names: dict[Any, int] = {}

    def spend(self, steps: int) -> None:
        """Take steps from the budget; ``TooLargeError`` when it is used up."""
        self.left -= steps
        if self.left < 0:
            raise TooLargeError("the expression takes too many steps")

    def number(self, value: Fraction | int) -> Value:
        """A rational number."""
        return Value({(): Fraction(value)} if value else {}, {(): Fraction(1)})

    def unknown(self, *atom: Any) -> Value:
        """A variable, constant or function of other values."""
        return Value({((atom, Fraction(1)),): Fraction(1)}, {(): Fraction(1)})

    def name(self, value: Value) -> int:
        """A number that stands for a value inside an unknown, however large it is: equal for the same quotient."""
        form = tuple(sorted(value.num.items(), key=repr)), tuple(sorted(value.den.items(), key=repr))
        return self._names.setdefault(form, len(self._names))

    def imaginary_unit(self) -> Value:
        """The i with i * i = -1."""
        return self.unknown(*_UNIT)

    def add(self, a: Value, b: Value) -> Value:
        """a + b."""
        if a.den == b.den:
            return self._value(self._sum(a.num, b.num), a.den)
        return self._value(
            self._sum(self._product(a.num, b.den), self._product(b.num, a.den)), self._product(a.den, b.den)
        )

    def negative(self, a: Value) -> Value:
        """-a."""
        return Value({monomial: -coefficient for monomial, coefficient in a.num.items()}, a.den)

    def multiply(self, a: Value, b: Value) -> Value:
        """a * b."""
        return self._value(self._product(a.num, b.num), self._product(a.den, b.den))

    def divide(self, a: Value, b: Value) -> Value:
        """a / b; ``Undefined`` when b is zero."""
        if not b.num:
            raise Undefined("division by zero")
        return self._value(self._product(a.num, b.den), self._product(a.den, b.num))

    def power(self, base: Value, exponent: Value) -> Value:
        """Base to an exponent; an unknown of its own unless the exponent is an integer or a fraction like 1/2."""
        number = rational(exponent)
        if number is None:
            return self._power_of_terms(base, exponent)
        if number.denominator > 12:
            return self.unknown("power", self.name(base), self.name(exponent))
        if number.denominator > 1:
            return self.power(self.root(base, number.denominator), self.number(number.numerator))
        if abs(number) > MAX_EXPONENT:
            raise TooLargeError(f"an exponent of {number.numerator.bit_length()} bits")
        if number <= 0 and not base.num:
            raise Undefined("zero to a power that is not positive")
        result, square, left = self.number(1), base, abs(int(number))
        while left:
            if left & 1:
                result = self.multiply(result, square)
            left >>= 1
            if left:
                square = self.multiply(square, square)
        return result if number >= 0 else self.divide(self.number(1), result)

    def _power_of_terms(self, base: Value, exponent: Value) -> Value:
        """b^(2x + 1) as b (b^x)^2: one unknown for each term of an exponent, to a whole power."""
        if set(exponent.den) != {()} or not base.num:
            return self.unknown("power", self.name(base), self.name(exponent))
        result = self.number(1)
        for monomial, coefficient in exponent.num.items():
            factor = coefficient / exponent.den[()]
            if monomial:
                term = Value({monomial: Fraction(1, factor.denominator)}, {(): Fraction(1)})
                unknown = self.unknown("power", self.name(base), self.name(term))
                factor_power = self.power(unknown, self.number(factor.numerator))
            else:
                factor_power = self.power(base, self.number(factor))
            result = self.multiply(result, factor_power)
        return result

    def root(self, a: Value, degree: int) -> Value:
        """The real root of a rational number (i times one for even roots of degree 2 of negatives), else an unknown."""
        number = rational(a)
        if number is None or (number < 0 and degree % 2 == 0 and degree != 2) or degree > 12 or degree < 1:
            return self.unknown("root", degree, self.name(a))
        radicand = abs(number.numerator) * number.denominator ** (degree - 1)
        found = self._integer_root(radicand, degree)
        if found is None:
            return self.unknown("root", degree, self.name(a))
        result = self.multiply(found, self.number(Fraction(1, number.denominator)))
        if number < 0:
            return self.multiply(result, self.imaginary_unit()) if degree == 2 else self.negative(result)
        return result

    def logarithm(self, a: Value, base: Value) -> Value | None:
        """The logarithm of a rational number where it is a fraction with a small denominator; else ``None``."""
        number, root = rational(a), rational(base)
        if number is None or root is None or number <= 0 or root <= 0 or root == 1:
            return None
        if max(number.numerator, number.denominator, root.numerator, root.denominator) > MAX_RADICAND:
            return None
        for below in range(1, 7):
            self.spend(50)
            for above in range(-27 * below, 27 * below + 1):
                if root**above == number**below:
                    return self.number(Fraction(above, below))
        return None

    def equal(self, a: Value, b: Value) -> bool:
        """Whether a and b are the same value."""
        left, right = self._product(a.num, b.den), self._product(b.num, a.den)
        return left == right

    def ratio(self, a: Value, b: Value) -> Fraction | None:
        """The rational number a / b where there is one: 1 where both are zero, ``None`` where one is.

        Equations ``a = 0`` and ``b = 0`` with such a ratio are the same, inequalities where it is positive.
        """
        left, right = self._product(a.num, b.den), self._product(b.num, a.den)
        if not left or set(left) != set(right):
            return Fraction(1) if not left and not right else None
        some = next(iter(left))
        ratio = left[some] / right[some]
        same = all(coefficient == ratio * right[monomial] for monomial, coefficient in left.items())
        return ratio if same else None

    def _integer_root(self, radicand: int, degree: int) -> Value | None:
        if degree == 2 and isqrt(radicand) ** 2 == radicand:
            return self.number(isqrt(radicand))
        if radicand > MAX_RADICAND:
            return None
        outside, inside = 1, []
        for prime, count in self._factors(radicand):
            outside *= prime ** (count // degree)
            if count % degree:
                inside.append((("prime", prime), Fraction(count % degree, degree)))
        return Value({tuple(sorted(inside)): Fraction(outside)} if radicand else {}, {(): Fraction(1)})

    def _factors(self, number: int) -> list[tuple[int, int]]:
        found, divisor = [], 2
        while divisor * divisor <= number:
            self.spend(1)
            count = 0
            while number % divisor == 0:
                number //= divisor
                count += 1
            if count:
                found.append((divisor, count))
            divisor += 1 if divisor == 2 else 2
        return [*found, (number, 1)] if number > 1 else found

    def _value(self, num: Polynomial, den: Polynomial) -> Value:
        """A value whose denominator, where it is one term, holds neither numbers nor roots nor i."""
        if len(den) != 1:
            return Value(num, den)
        ((monomial, coefficient),) = den.items()
        inverse: Polynomial = {(): 1 / coefficient}
        kept: list[tuple[Atom, Fraction]] = []
        for atom, exponent in monomial:
            if atom == _UNIT:
                inverse = self._product(inverse, {((_UNIT, Fraction(1)),): Fraction(-1)})
            elif atom[0] == "prime":
                inverse = self._product(inverse, {((atom, 1 - exponent),): Fraction(1, atom[1])})
            else:
                kept.append((atom, exponent))
        return Value(self._product(num, inverse), {tuple(kept): Fraction(1)})

    def _sum(self, a: Polynomial, b: Polynomial) -> Polynomial:
        result = dict(a)
        for monomial, coefficient in b.items():
            self.spend(1)
            total = result.get(monomial, Fraction(0)) + coefficient
            if total:
                result[monomial] = total
            else:
                result.pop(monomial, None)
        return self._checked(result)

    def _product(self, a: Polynomial, b: Polynomial) -> Polynomial:
        result: Polynomial = {}
        for first, x in a.items():
            for second, y in b.items():
                self.spend(1 + len(first) + len(second))
                monomial, factor = _monomial_product(first, second)
                total = result.get(monomial, Fraction(0)) + x * y * factor
                if total:
                    result[monomial] = total
                else:
                    result.pop(monomial, None)
        return self._checked(result)

    def _checked(self, polynomial: Polynomial) -> Polynomial:
        if len(polynomial) > MAX_TERMS:
            raise TooLargeError(f"more than {MAX_TERMS} terms")
        for coefficient in polynomial.values():
            if max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length()) > MAX_BITS:
                raise TooLargeError(f"a number of more than {MAX_BITS} bits")
        return polynomial


def constant(value: Value) -> bool:
    """Whether a value holds no variable: numbers, roots, pi, e and i alone."""
    atoms = (atom for part in value for monomial in part for atom, _ in monomial)
    return all(atom[0] in ("prime", "i", "pi") or atom == ("letter", "e") for atom in atoms)


def rational(value: Value) -> Fraction | None:
    """The value as a fraction, or ``None`` where it is not one by its form."""
    if len(value.den) != 1 or () not in value.den or set(value.num) - {()}:
        return None
    return value.num.get((), Fraction(0)) / value.den[()]


def _monomial_product(a: Monomial, b: Monomial) -> tuple[Monomial, Fraction]:
    """The product of two monomials and the number that comes out of its roots and units."""
    exponents: dict[Atom, Fraction] = dict(a)
    factor = Fraction(1)
    for atom, exponent in b:
        total = exponents.get(atom, Fraction(0)) + exponent
        if atom[0] == "prime" and total >= 1:
            total -= 1
            factor *= atom[1]
        elif atom == _UNIT and total >= 2:
            total -= 2
            factor = -factor
        exponents[atom] = total
    kept = [(atom, exponent) for atom, exponent in exponents.items() if exponent]
    return tuple(sorted(kept, key=repr)), factor
