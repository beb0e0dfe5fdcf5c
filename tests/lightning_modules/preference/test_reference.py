"""Preference optimisation: the reference and its checks, the layouts, and that it learns what was preferred."""

import math

import numpy as np
import pytest
import torch

from data.files.stages import TemporaryStages
from data.records.texts import PreferencePair
from lightning_modules.networks.fingerprint import parameters_digest
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.preference.reference import StaleReferenceError
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.training.fit import fit
from tests.lightning_modules.objectives import objective
from tests.lightning_modules.tiny_models import tiny
from tests.lightning_modules.tiny_world import SumData, tiny_model


def attached(data, *, model=None, prepare=True, stages=None, **options):
    defaults = {
        "model": model or tiny_model(rate=2e-3),
        "seed": 0,
        "sampler": Sampler(max_tokens=4, temperature=0.0),
        "objective": objective("dpo"),
    }
    module = PreferenceOptimisation(**{**defaults, **options})
    module.attach(data)
    if prepare:
        module.prepare(data, stages or TemporaryStages())
    return module


@pytest.fixture
def data():
    return SumData(pairs=True)


def counting(stages):
    """Stages that note what was built."""
    built = []

    class Counting:
        def get(self, kind, key, build):
            return stages.get(kind, key, lambda folder: (built.append(kind), build(folder)))

    return Counting(), built


@pytest.mark.parametrize("share_prompt", [True, False])
@pytest.mark.parametrize("name", ["dpo", "ln_dpo"])
def test_the_loss_starts_at_log_2(data, share_prompt, name):
    module = attached(data, share_prompt=share_prompt, objective=objective(name))
    losses, read = module.losses(module.collate(data.items("train")[:6]))
    assert losses.tolist() == pytest.approx([math.log(2)] * 6, abs=1e-5)
    assert read == 6 * (5 + 3 + 3 + (0 if share_prompt else 5))
    assert float(module.step_metrics["train/margin_own_reference"]) == pytest.approx(0, abs=1e-5)


def test_ipo_starts_at_the_square_of_its_target(data):
    module = attached(data, objective=objective("ipo", beta=0.5))
    losses, _ = module.losses(module.collate(data.items("train")[:6]))
    assert losses.tolist() == pytest.approx([1.0] * 6, abs=1e-4)


def test_sharing_the_prompt_changes_neither_losses_nor_gradients(data):
    pairs = [PreferencePair("odd", "1 + 2 = 3 + 4 =", "is 10", "is 5 + 5"), *data.items("train")[:5]]
    data.items = lambda split, limit=None: pairs
    found = []
    for share_prompt in (True, False):
        module = attached(data, share_prompt=share_prompt, model=tiny_model(convolution=4))
        batch = module.collate(pairs)
        sums = module._sums(batch.tokens)
        losses, _ = module.losses(batch)
        losses.sum().backward()
        found.append((sums, losses, [weight.grad for weight in module.network.parameters()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_chosen_and_rejected_are_not_swapped(data):
    module = attached(data)
    pair = data.items("train")[0]
    with torch.no_grad():
        for weight in module.network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    moved = module.score([pair])
    before = module._reference[pair][0]
    module._check_start = lambda batch, **options: None
    [loss] = module.losses(module.collate([pair]))[0].tolist()
    margin = 0.1 * ((moved.sums[0, 0] - before[0]) - (moved.sums[0, 1] - before[1])).item()
    assert abs(margin) > 1e-3 and loss == pytest.approx(-math.log(1 / (1 + math.exp(-margin))), abs=1e-5)


def test_the_reference_is_a_stage_named_by_weights_and_texts(data):
    stages, built = counting(TemporaryStages())
    attached(data, stages=stages)
    attached(data, stages=stages, share_prompt=False, objective=objective("ipo", beta=1.0))
    assert built == ["reference_logps"]
    reverse = SumData(pairs=True)
    reverse.items = lambda split, limit=None: SumData(pairs=True).items(split)[::-1]
    module = attached(reverse, stages=stages)
    assert built == ["reference_logps"]
    losses, _ = module.losses(module.collate(reverse.items("train")[:4]))
    assert losses.tolist() == pytest.approx([math.log(2)] * 4, abs=1e-5)
    attached(data, stages=stages, seed=1)
    changed = SumData(pairs=True)
    changed.items = lambda split, limit=None: SumData(pairs=True).items(split)[1:]
    attached(changed, stages=stages)
    assert built == ["reference_logps"] * 3


def test_a_stale_reference_stops_the_run(data):
    module = attached(data)
    with torch.no_grad():
        next(module.network.parameters()).mul_(1.01)
    with pytest.raises(StaleReferenceError, match="nats per token"):
        module.losses(module.collate(data.items("train")[:4]))


def test_swapped_references_stop_the_run(data):
    module = attached(data)
    for pair, (sums, lengths) in module._reference.items():
        module._reference[pair] = (np.ascontiguousarray(sums[::-1]), lengths)
    with pytest.raises(StaleReferenceError):
        module.losses(module.collate(data.items("train")[:4]))


def test_a_loss_that_starts_elsewhere_stops_the_run(data):
    module = attached(data, start_tolerance=0.5)
    for pair, (sums, lengths) in module._reference.items():
        module._reference[pair] = (sums + np.array([0.0, 1.0]), lengths)
    with pytest.raises(StaleReferenceError, match=r"instead of 0\.6931"):
        module.losses(module.collate(data.items("train")[:4]))


def test_pairs_without_a_reference_are_refused(data):
    with pytest.raises(ValueError, match="prepare"):
        attached(data, prepare=False).collate(data.items("train")[:1])
    module = attached(data)
    with pytest.raises(ValueError, match="the pair new"):
        module.collate([PreferencePair("new", "1 + 1 =", "is 2", "is 3")])


def test_values_that_are_not_finite_are_refused_by_name(data):
    module = attached(data, prepare=False)
    with torch.no_grad():
        next(module.network.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match=r"no finite log-probability, such as 0\+0"):
        module.score(data.items("train")[:2])


def test_training_raises_the_preferred_responses(data, tmp_path):
    module = attached(data)
    pairs = data.items("train")
    before = module.score(pairs).sums
    fit(module, data, folder=tmp_path, max_steps=60, accelerator="cpu", checkpoint_every=None)
    after = module.score(pairs).sums
    margins = (after - before)[:, 0] - (after - before)[:, 1]
    assert (margins > 0).float().mean() > 0.95
    assert float(module.step_metrics["train/accuracy_own_reference"]) > 0.9
    assert len(module.predict(data, split="test", limit=3)) == 3


def test_a_model_of_the_transformers_library_shares_prompts_too(data, tokenizer):
    pairs = data.items("train")[:4]
    module = attached(data, model=tiny("causal", tokenizer))
    apart = attached(data, model=tiny("causal", tokenizer), share_prompt=False)
    torch.testing.assert_close(module.score(pairs).sums, apart.score(pairs).sums, atol=1e-4, rtol=1e-5)
    losses, _ = module.losses(module.collate(pairs))
    assert losses.tolist() == pytest.approx([math.log(2)] * 4, abs=1e-4)


def test_digest_sees_every_weight():
    layer, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    other.load_state_dict(layer.state_dict())
    assert parameters_digest(layer) == parameters_digest(other)
    with torch.no_grad():
        other.bias[1] += 1e-6
    assert parameters_digest(layer) != parameters_digest(other)


@pytest.mark.parametrize("options", [{"score_batch": 0}, {"start_tolerance": 0.0}, {"samples": 0}, {"chunk": 0}])
def test_bad_options_are_refused(data, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        attached(data, **options)
