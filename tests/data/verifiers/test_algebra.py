from fractions import Fraction

import pytest

from data.verifiers.algebra import Ring, TooLargeError, Undefined, rational


def test_roots_by_hand():
    ring = Ring()
    two, three = ring.root(ring.number(2), 2), ring.root(ring.number(3), 2)
    assert rational(ring.multiply(two, two)) == 2
    assert ring.equal(ring.multiply(two, three), ring.root(ring.number(6), 2))
    assert ring.equal(ring.divide(ring.number(1), two), ring.divide(two, ring.number(2)))
    assert rational(ring.root(ring.number(Fraction(9, 4)), 2)) == Fraction(3, 2)
    assert rational(ring.root(ring.number(-8), 3)) == -2
    assert not ring.equal(two, ring.number(Fraction("1.4142135623730951")))


def test_the_imaginary_unit_squares_to_minus_one():
    ring = Ring()
    i = ring.imaginary_unit()
    assert rational(ring.power(i, ring.number(2))) == -1
    assert ring.equal(ring.divide(ring.number(1), i), ring.negative(i))
    assert ring.equal(ring.root(ring.number(-4), 2), ring.multiply(ring.number(2), i))


def test_a_product_of_conjugates():
    ring = Ring()
    root, one = ring.root(ring.number(5), 2), ring.number(1)
    product = ring.multiply(ring.add(root, one), ring.add(root, ring.negative(one)))
    assert rational(product) == 4


def test_limits():
    ring = Ring()
    with pytest.raises(Undefined):
        ring.divide(ring.number(1), ring.number(0))
    with pytest.raises(Undefined):
        ring.power(ring.number(0), ring.number(0))
    with pytest.raises(TooLargeError):
        ring.power(ring.number(9), ring.number(387420489))
    with pytest.raises(TooLargeError):
        ring.power(ring.number(10**6), ring.number(999))
    with pytest.raises(TooLargeError):
        Ring(budget=3).multiply(ring.number(2), ring.root(ring.number(97), 2))
