"""One route for an objective: its YAML is what plan and training read; the loss of a step and of a training by hand."""

import math

import pytest
import torch

from data.files.stages import TemporaryStages
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.preference.objective import Fusion, PairValues
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.training.fit import fit
from sweeps.planning import plan
from sweeps.preflight.shared_stages import products
from tests.lightning_modules.objectives import OBJECTIVES, objective
from tests.lightning_modules.tiny_world import SumData, tiny_model

SKILLS = ("scale=smoke", "experiment=skills_smoke", "evaluation=text", "data=skill_pairs", "base=infifpo/skills_sft")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_plan_and_training_read_the_same_flags(name):
    """What a plan says is scored under each source follows from the built objective; the flags have no other place."""
    config, _ = plan.resolve(plan.Composer().compose((*SKILLS, "method=infifpo", f"objective={name}")))
    built = objective(name)
    texts = "blended pairs" if built.blended else "pairs"
    wanted = [f"log-probabilities of the {texts} under {one}" for one in config["method"]["sources"]]
    scored = [one.what for one in products(config) if one.kind == "source_logps"]
    assert scored == (wanted if built.reads_sources else []) and len(wanted) == 5
    told = {key: value for key, value in config["method"]["objective"].items() if key != "_target_"}
    assert told == vars(built), "a number that its YAML does not say"


@pytest.mark.parametrize("flag", ["beta", "summed", "reads_sources", "blended"])
def test_no_flag_has_a_second_default_in_code(flag):
    for name in OBJECTIVES:
        said = {key: value for key, value in vars(objective(name)).items() if key != flag}
        with pytest.raises(TypeError, match=flag):
            type(objective(name))(**said)


def values(*rows):
    return PairValues(*(torch.tensor(row, dtype=torch.float64) for row in rows), torch.zeros(1, 0), torch.zeros(1, 0))


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "numbers", "wanted"),
    [
        # Policy less pivot: chosen -3 + 4 = 1, rejected -6 + 5 = -1, difference 2.
        ("dpo", {}, softplus(-0.2)),
        ("dpo", {"label_smoothing": 0.25}, 0.75 * softplus(-0.2) + 0.25 * softplus(0.2)),
        ("ln_dpo", {}, softplus(-5.0)),
        ("ipo", {}, (2 - 5) ** 2),
        # Policy alone: beta 2 * (-3 + 6) - gamma 1 = 5.
        ("simpo", {}, softplus(-5.0)),
        # Reward beta f'(u): of KL(policy, expert) log u + 1, which is DPO.
        ("f_dpo", {"divergence": "kl_policy_expert"}, softplus(-0.2)),
    ],
)
def test_the_loss_of_one_pair_by_hand(name, numbers, wanted):
    result = objective(name, **numbers).loss(values([-3.0], [-6.0], [-4.0], [-5.0]), Fusion({}))
    assert result.losses.item() == pytest.approx(wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_step_of_a_short_training_has_the_loss_of_dpo_by_hand(tmp_path, smoothing):
    """-log sigmoid(0.1 (chosen - rejected)) of sums less those of the start, which are computed anew here."""
    data, seen = SumData(pairs=True), []
    options = {"objective": objective("dpo", label_smoothing=smoothing), "sampler": Sampler(max_tokens=4)}
    method = PreferenceOptimisation(model=tiny_model(rate=2e-3), seed=0, **options)
    method.attach(data)
    method.prepare(data, TemporaryStages())
    start = {pair: method.score([pair]).sums[0] for pair in data.items("train")}
    collate, losses = method.collate, method.losses

    def collated(items):
        return collate(items), items

    def recorded(batch):
        found, read = losses(batch[0])
        now = torch.stack([method.score([pair]).sums[0] for pair in batch[1]])
        method.network.train()
        seen.append((found.detach().double(), now - torch.stack([start[pair] for pair in batch[1]])))
        return found, read

    method.collate, method.losses = collated, recorded
    data.collate = collated
    fit(method, data, folder=tmp_path, max_steps=12, accelerator="cpu", checkpoint_every=None)
    assert len(seen) == 12
    for found, moved in seen:
        margin = 0.1 * (moved[:, 0] - moved[:, 1])
        plain, flipped = torch.log1p(torch.exp(-margin)), torch.log1p(torch.exp(margin))
        torch.testing.assert_close(found, (1 - smoothing) * plain + smoothing * flipped, atol=2e-5, rtol=0)
    assert abs(float(seen[-1][0].mean()) - math.log(2)) > 0.01, "it has learnt something"
