import pytest
import torch

from lightning_modules.losses.checks import (
    check_choice,
    check_floating,
    check_mask,
    check_number,
    check_shapes,
    full_precision,
)


def test_rank_and_shape_mismatches_name_the_argument_and_what_was_wanted():
    with pytest.raises(ValueError, match=r"logps has shape \(2, 3\), wanted \(B,\)"):
        check_shapes("(B,)", logps=torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"right has shape \(3,\) but left has \(2,\)"):
        check_shapes("(B,)", left=torch.zeros(2), right=torch.zeros(3))
    check_shapes("(B, T-1)", left=torch.zeros(2, 3), right=torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("limits", "refused", "accepted"),
    [
        ({"above": 0.0}, 0.0, 0.1),
        ({"at_least": 0.0}, -0.1, 0.0),
        ({"at_most": 1.0}, 1.1, 1.0),
        ({"above": 0.0}, float("nan"), 1.0),
    ],
)
def test_numbers_outside_their_range_are_refused(limits, refused, accepted):
    with pytest.raises(ValueError, match="beta is"):
        check_number("beta", refused, **limits)
    check_number("beta", accepted, **limits)


def test_a_float_mask_is_refused_because_it_may_hold_weights():
    with pytest.raises(ValueError, match="mask holds"):
        check_mask(torch.tensor([0.5]))
    assert check_mask(torch.tensor([0, 1])).tolist() == [False, True]


def test_unknown_choice_lists_the_offered_ones_and_integers_are_no_logps():
    with pytest.raises(ValueError, match="'c', wanted one of a, b"):
        check_choice("strategy", "c", ("b", "a"))
    with pytest.raises(ValueError, match="floating-point"):
        check_floating(logps=torch.tensor([1]))


def test_half_precision_is_raised_and_double_is_kept():
    assert full_precision(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert full_precision(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32
    assert full_precision(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
