"""Supervised fine-tuning, from demonstrations to scored responses."""

from functools import partial

import pytest
import torch

from data.records.texts import Demonstration
from lightning_modules.losses.sft import dft_loss, sft_loss
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.sft.sft import Sft
from lightning_modules.training.fit import fit
from tests.lightning_modules.tiny_models import tiny
from tests.lightning_modules.tiny_world import SumData, tiny_model

MEAN = partial(sft_loss, per_sequence="mean")


def attached(data=None, *, model=None, seed=0, **options):
    sampler = Sampler(max_tokens=4, temperature=0.0)
    module = Sft(**{"model": model or tiny_model(), "seed": seed, "sampler": sampler, "loss": MEAN, **options})
    module.attach(data or SumData())
    return module


def texts(completions):
    return [(one.example_id, one.sample, one.response) for one in completions]


def test_loss_by_hand():
    module, data = attached(), SumData()
    items = data.items("train")[:3]
    losses, read = module.losses(module.collate(items))
    vocabulary = data.vocabulary
    for item, loss in zip(items, losses, strict=True):
        prompt = [vocabulary.start, *vocabulary.encode(item.prompt)]
        response = [*vocabulary.encode(item.response), vocabulary.end]
        logits = module.network.network.lm_head(module.network.network.hidden(torch.tensor([prompt + response])))
        logps = logits[0].log_softmax(-1)
        each = [logps[len(prompt) - 1 + place, token] for place, token in enumerate(response)]
        torch.testing.assert_close(loss, -torch.stack(each).mean())
    assert read == 3 * (5 + 3)  # start and four words; two words and the end


def test_packing_changes_neither_losses_nor_gradients():
    data = SumData()
    items = [Demonstration("long", "1 + 2 = 3 + 4 =", "is 5 + 5"), *data.items("train")[:6]]
    found = []
    for packing in (None, 20):
        module = attached(data, packing=packing)
        batch = module.collate(items)
        losses, _ = module.losses(batch)
        losses.sum().backward()
        found.append((losses, [weight.grad for weight in module.network.parameters()], len(batch.ids)))
    torch.testing.assert_close(found[0][:2], found[1][:2], atol=1e-5, rtol=1e-4)
    assert found[0][2] == 7 and found[1][2] == 4


def test_prompts_carry_no_loss():
    data = SumData()
    batch = attached(data).collate([Demonstration("a", "1 + 2 =", "is 3")])
    assert batch.targets.tolist() == [[*data.vocabulary.encode("is 3"), data.vocabulary.end]]
    assert batch.sources.tolist() == [[4, 5, 6]]


def test_the_loss_is_a_choice():
    batch = attached().collate(SumData().items("train")[:4])
    plain, _ = attached().losses(batch)
    dft, _ = attached(loss=partial(dft_loss, per_sequence="mean")).losses(batch)
    assert (dft < plain).all() and (dft > 0).all()


def test_sums_are_learnt_by_heart_and_scored(tmp_path):
    data = SumData()
    module = attached(data)
    before = data.frame(module.predict(data, split="test"))["accuracy"].mean()
    fit(module, data, folder=tmp_path, max_steps=250, accelerator="cpu", checkpoint_every=None)
    again = attached(data, seed=1)
    again.load_weights(tmp_path)
    completions = again.predict(data, split="test")
    assert [one.example_id for one in completions] == [item.id for item in data.items("test")]
    assert before < 0.2 and data.frame(completions)["accuracy"].mean() > 0.95
    assert all(one.finished and one.tokens == 3 for one in completions)
    assert texts(again.predict(data, split="test", limit=5)) == texts(completions[:5])


def test_samples_of_an_untrained_model():
    module = attached(samples=3, sampler=Sampler(max_tokens=4))
    found = module.predict(SumData(), split="test", limit=2)
    assert [one.sample for one in found] == [0, 1, 2] * 2
    other = attached(samples=3, sampler=Sampler(max_tokens=4, batch=3))
    assert texts(found) == texts(other.predict(SumData(), split="test", limit=2))


def test_a_model_of_the_transformers_library_is_trained_too(tokenizer):
    data = SumData()
    module = attached(data, model=tiny("causal", tokenizer), packing=40)
    losses, _ = module.losses(module.collate(data.items("train")[:5]))
    losses.sum().backward()
    assert losses.shape == (5,) and all(weight.grad is not None for weight in module.network.parameters())
    alone = torch.cat([module.losses(module.collate([item]))[0] for item in data.items("train")[:5]])
    torch.testing.assert_close(losses, alone, atol=1e-5, rtol=1e-5)
    assert len(module.predict(data, split="test", limit=2)) == 2


def test_random_weights_follow_from_the_seed():
    one, same, other = (list(attached(seed=seed).network.parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


def test_tokens_are_counted_for_budgets():
    data = SumData()
    attached(data)
    assert data.count_tokens("1 + 2 =") == 5


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"method\.packing"):
        attached(packing=0)
    with pytest.raises(ValueError, match="limit of 32"):
        attached().collate([Demonstration("a", " ".join("1" * 30), "is 3")])
    data = SumData()
    data.vocabulary = None
    with pytest.raises(ValueError, match="vocabulary"):
        attached(data)
