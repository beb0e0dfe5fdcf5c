import math

import pytest
import torch

from lightning_modules.losses.mrpo import harmonic_reference_logps


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_harmonic_mean_of_two_probabilities():
    """1 / (1/2 * 2 + 1/2 * 4) = 1/3; with weights 3/4 and 1/4: 1 / (3/4 * 2 + 1/4 * 4) = 2/5."""
    refs = logs([0.5, 0.25])
    assert harmonic_reference_logps(refs).exp().item() == pytest.approx(1 / 3)
    assert harmonic_reference_logps(refs, weights=(0.75, 0.25)).exp().item() == pytest.approx(0.4)


def test_one_reference_and_equal_references_are_themselves():
    torch.testing.assert_close(harmonic_reference_logps(logs([0.3], [0.7])), logs(0.3, 0.7))
    torch.testing.assert_close(harmonic_reference_logps(logs([0.3, 0.3, 0.3])), logs(0.3))


def test_harmonic_reference_stays_between_its_parts_even_for_unlikely_sequences():
    refs = -1000 * torch.rand(100, 3)
    fused = harmonic_reference_logps(refs)
    assert (fused >= refs.amin(1) - 1e-3).all() and (fused <= refs.amax(1) + 1e-3).all()


def test_clip_range_keeps_the_others_near_the_main_reference():
    """Main 0; others 5 and -5 are cut to 1 and -1: -ln((1 + e^-1 + e^1) / 3)."""
    fused = harmonic_reference_logps(torch.tensor([[0.0, 5.0, -5.0]], dtype=torch.float64), clip_range=1.0)
    assert fused.item() == pytest.approx(-math.log((1 + math.exp(-1) + math.e) / 3))


def test_entry_checks():
    with pytest.raises(ValueError, match="weights is"):
        harmonic_reference_logps(torch.zeros(2, 2), weights=(0.5, 0.6))
    with pytest.raises(ValueError, match="weights is"):
        harmonic_reference_logps(torch.zeros(2, 2), weights=(1.0,))
    with pytest.raises(ValueError, match="clip_range"):
        harmonic_reference_logps(torch.zeros(2, 2), clip_range=-1.0)
