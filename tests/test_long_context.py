"""The benchmark of long contexts: that its ways compute the same step, and what it calls linear."""

import pytest
import torch

from benchmarks.long_context import Step, slopes, training_step, verdict

SIZES = {"vocabulary": 50, "width": 32, "layers": 2, "examples": 4, "chunk": 7}


def gradients(way, length):
    model, loss = training_step(way, length, **SIZES)
    value = loss("cpu")
    value.backward()
    return value, {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("length", [64, 2304])  # above 2,048 tokens packed rows attend example by example
def test_packed_and_plain_take_the_same_step(length):
    value, found = gradients("packed", length)
    same, wanted = gradients("plain", length)
    torch.testing.assert_close(value, same)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-4)


def test_a_row_that_examples_do_not_fill_is_refused():
    with pytest.raises(ValueError, match="equal length"):
        training_step("packed", 63, **SIZES)


def table(*peaks):
    return {2**n: Step(int(peak), int(peak), 1.0) for n, peak in enumerate(peaks, start=11)}


def test_what_is_called_linear():
    line, square = table(*(1e6 + 500.0 * 2**n for n in range(11, 15))), table(*(float(4**n) for n in range(11, 15)))
    assert slopes(line) == [500.0] * 3
    assert ": linear" in verdict("packed", line, 12) and "not linear" in verdict("plain", square, 12)
    assert "NOT below" in verdict("packed", line, 1e-6) and "says nothing" in verdict("packed", table(1.0), 12)
