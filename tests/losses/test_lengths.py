import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.losses.lengths import TextScores, normalised_logps

# A text of 12 bytes: -6 nats over 3 tokens under one tokenizer, -6 over 4 under another.
COARSE = TextScores(torch.tensor([-6.0]), torch.tensor([3]), torch.tensor([12]))
FINE = TextScores(torch.tensor([-6.0]), torch.tensor([4]), torch.tensor([12]))


def test_each_unit_divides_by_its_own_length():
    """-6 / 3 = -2, -6 / 12 = -0.5, and the sum itself."""
    assert normalised_logps(COARSE).item() == -2.0
    assert normalised_logps(COARSE, length_unit="byte").item() == -0.5
    assert normalised_logps(COARSE, length_unit="sequence").item() == -6.0


def test_tokens_favour_the_finer_tokenizer_and_bytes_do_not():
    """The same sequence probability: -1.5 against -2 per token, -0.5 per byte for both."""
    assert normalised_logps(FINE).item() == -1.5
    assert torch.equal(normalised_logps(FINE, length_unit="byte"), normalised_logps(COARSE, length_unit="byte"))


def test_scores_of_several_models_keep_their_shape():
    table = TextScores(torch.tensor([[-6.0, -8.0]]), torch.tensor([[3, 2]]), torch.tensor([[12, 12]]))
    assert normalised_logps(table).tolist() == [[-2.0, -4.0]]


def random_scores(seed, count=500):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5, 50, (count,), generator=generator)
    sums = -3 * torch.rand(count, generator=generator, dtype=torch.float64) * tokens
    return TextScores(sums, tokens, tokens * 3 + torch.randint(0, 9, (count,), generator=generator))


def test_length_normalised_dpo_per_token_and_per_byte_by_hand():
    """The reference has another tokenizer: other token counts, same bytes. Per token: chosen -6/3 + 6/2 = 1, rejected
    -8/4 + 9/3 = 1, difference 0: ln 2. Per byte: chosen -6/12 + 6/12 = 0, rejected -8/10 + 9/10 = 0.1, difference -0.1:
    softplus(0.2) at beta 2."""
    four = [
        TextScores(torch.tensor([total], dtype=torch.float64), torch.tensor([tokens]), torch.tensor([size]))
        for total, tokens, size in ((-6.0, 3, 12), (-8.0, 4, 10), (-6.0, 2, 12), (-9.0, 3, 10))
    ]
    for length_unit, wanted in (("token", math.log(2)), ("byte", math.log1p(math.exp(0.2)))):
        values = [normalised_logps(scores, length_unit=length_unit) for scores in four]
        assert dpo_loss(*values, beta=2.0).losses.item() == pytest.approx(wanted)


@pytest.mark.parametrize("length_unit", ["token", "byte", "sequence"])
def test_with_the_pivot_as_its_only_source_infifpo_is_ln_dpo_exactly_in_every_unit(length_unit):
    chosen, rejected, init_chosen, init_rejected = (random_scores(seed) for seed in range(4))
    values = [normalised_logps(scores, length_unit=length_unit) for scores in (chosen, rejected, init_chosen)]
    last = normalised_logps(init_rejected, length_unit=length_unit)
    plain = dpo_loss(*values, last, beta=2.5)
    fused = infifpo_loss(*values, last, values[2][:, None], last[:, None], beta=2.5)
    assert all(torch.equal(left, right) for left, right in zip(fused, plain, strict=True))


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="length_unit is 'word', wanted one of byte, sequence, token"):
        normalised_logps(COARSE, length_unit="word")  # type: ignore[arg-type]
