"""Mixed training: its gradient by hand, its ledger, every mixer on the same steps, and resuming in the same bits."""

import json

import pytest
import torch
from safetensors.torch import load_file

from data.reasoning.verified_problems import VerifiedProblems
from data.records.episodes import Answers
from data.worlds.cards.countdown import Countdown
from lightning_modules.base import Optimiser
from lightning_modules.networks.decoder.config import TinyModel
from lightning_modules.rl.rollouts import demonstrated, score, take_rows
from lightning_modules.rl.terms import Ppo, Rolled
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.sft_rl.amft import Amft
from lightning_modules.sft_rl.controller import FixedMu, Imitation, Mixer, Replayed, Schedule, SftThenRl
from lightning_modules.sft_rl.experience import utility
from lightning_modules.sft_rl.module import Mixing
from lightning_modules.sft_rl.rivals import Chord, Hpt, Luffy, Relift, Sasr, Srft
from lightning_modules.training.fit import fit, newest_checkpoint

WORLD = Countdown(seed=0, highest_rank=5, cap=4, lowest_target=1, highest_target=9, largest=20)
MIXERS = {
    "grpo": Mixer, "imitation": Imitation, "fixed": FixedMu, "sft_then_rl": lambda: SftThenRl(switch=0.5),
    "linear": Schedule, "cosine": lambda: Schedule(shape="cosine"), "chord": Chord, "luffy": Luffy, "srft": Srft,
    "hpt": Hpt, "relift": lambda: Relift(collected=8), "sasr": Sasr,
    "amft": lambda: Amft(meta_every=2, validation_prompts=8, validation_rollouts=2),
    "amft_new": lambda: Amft(meta_every=1, validation_prompts=8, validation_rollouts=2, meta_gradient="new"),
    "amft_old": lambda: Amft(meta_every=1, validation_prompts=8, validation_rollouts=2, meta_gradient="old",
                             preconditioner="adam_exact"),
    "amft_forward": lambda: Amft(meta_every=1, validation_prompts=8, validation_rollouts=2, meta_gradient="forward",
                                 tangent_decay=1.0),
}  # fmt: skip


class Easy(VerifiedProblems):
    """What is right is easy to hit: half of all texts."""

    def solved(self, example_id, response):
        return sum(map(ord, response)) % 2 == 0


def data(**options):
    return Easy(
        **{"world": WORLD, "seed": 0, "demonstrations": 16, "validation": 16, "test": 6, "ood": 6, "batch_size": 4,
           "steps": 4, **options}
    )  # fmt: skip


def module(mixer, *, seed=0, source=None, **options):
    rate = Optimiser(learning_rate=1e-2, weight_decay=0.0, warmup=0.0, schedule="constant")
    model = TinyModel(optimiser=rate, width=8, layers=1, heads=2)
    sampler = Sampler(max_tokens=5)
    chosen = {"rollouts": 4, "rollout_tokens": 5, "samples": 2, **options}
    built = Mixing(model=model, seed=seed, mixer=mixer, optimiser=rate, sampler=sampler, **chosen)
    built.attach(source or data())
    return built


def trained(mixer, folder, *, steps=4, progress=None, every=0.001, **options):
    source = data()
    built = module(mixer, source=source, **options)
    fit(built, source, folder=folder, max_steps=steps, accelerator="cpu", checkpoint_every=every, progress=progress)
    return built


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_trains_and_resumes_in_the_same_bits(name, tmp_path):
    def stop(done, total):
        if done == 3:
            raise Stop

    whole = trained(MIXERS[name](), tmp_path / "whole")
    with pytest.raises(Stop):
        trained(MIXERS[name](), tmp_path / "broken", progress=stop)
    assert newest_checkpoint(tmp_path / "broken").step == 2
    again = trained(MIXERS[name](), tmp_path / "broken")
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (whole.ledger, whole.mus) == (again.ledger, again.mus) and len(whole.mus) == 4
    started = module(MIXERS[name]()).network.state_dict()
    assert any(not torch.equal(first[key], started[key]) for key in first)


def test_the_hessian_product_is_the_change_of_the_blended_gradient(tmp_path):
    found = {}

    class Curved(FixedMu):
        curvature = True

        def weights(self, signals):
            vector = [torch.randn_like(grad) for grad in signals.sft_grads]
            found["product"] = signals.hessian_product(0.3, 0.0, vector)
            tuned, ends = built._tuned(), []
            for sign in (1, -1):
                with torch.no_grad():
                    for weight, part in zip(tuned, vector, strict=True):
                        weight.add_(part, alpha=sign * 1e-5)
                scored = score(built.network, demonstrated(built.network, source, signals.items))
                loss = -(scored.logps * scored.mask).sum() / scored.mask.sum()
                ends.append(torch.autograd.grad(0.3 * loss, tuned, materialize_grads=True))
                with torch.no_grad():
                    for weight, part in zip(tuned, vector, strict=True):
                        weight.sub_(part, alpha=sign * 1e-5)
            found["change"] = [(up - down) / 2e-5 for up, down in zip(*ends, strict=True)]
            return super().weights(signals)

    source = data()
    built = module(Curved(), source=source)
    built.network.double()
    fit(built, source, folder=tmp_path, max_steps=1, accelerator="cpu", checkpoint_every=None)
    product, change = (torch.cat([part.flatten() for part in found[name]]) for name in ("product", "change"))
    assert (product - change).norm() < 1e-4 * change.norm() and change.norm() > 1e-3


@pytest.mark.parametrize("name", ["grpo", "fixed", "hpt", "chord", "amft", "luffy"])
def test_groups_with_equal_rewards_can_be_left_out_of_the_gradient_without_changing_it(name, tmp_path):
    seen = {}
    for skip in (False, True):
        mixer = MIXERS[name]()
        built = trained(mixer, tmp_path / str(skip), steps=3, skip_equal_groups=skip)
        seen[skip] = (load_file(tmp_path / str(skip) / "model.safetensors"), built.ledger)
    (all_rows, dear), (some_rows, cheap) = seen[False], seen[True]
    assert all(torch.allclose(all_rows[key], some_rows[key], atol=1e-6) for key in all_rows)
    assert (dear.rollout, dear.validation) == (cheap.rollout, cheap.validation)
    assert (cheap.trained < dear.trained) == (name != "luffy")  # whose groups hold a demonstration


@pytest.mark.parametrize("rewards", [(0.0, 0.0), (1.0, 1.0)])
def test_a_step_without_a_signal_moves_nothing_and_is_no_fault(rewards, tmp_path):
    class Alike(Easy):
        def solved(self, example_id, response):
            return rewards[0]

    source = Alike(world=WORLD, seed=0, demonstrations=16, validation=16, test=6, ood=6, batch_size=4, steps=4)
    built = module(Mixer(), source=source, skip_equal_groups=True)
    before = {name: value.clone() for name, value in built.network.state_dict().items()}
    fit(built, source, folder=tmp_path, max_steps=2, accelerator="cpu", checkpoint_every=None)
    assert all(torch.equal(before[name], value) for name, value in built.network.state_dict().items())


def test_a_row_by_itself_is_scored_as_among_the_others():
    source = data()
    built = module(Mixer(), source=source)
    batch = demonstrated(built.network, source, source.items("train"))
    rows = torch.tensor([5, 2, 11])
    part = take_rows(batch, rows)
    lengths = [len(built.network.codec.prompt_ids([one.prompt])[0]) for one in source.items("train")]
    written = (batch.targets != -100).sum(1)
    assert part.read == sum(lengths[row] + int(written[row]) for row in rows)
    assert torch.allclose(score(built.network, part).logps, score(built.network, batch).logps[rows], atol=1e-5)


def test_curvature_wants_whole_graphs():
    with pytest.raises(ValueError, match="micro_batch"):
        module(Amft(meta_gradient="forward"), micro_batch=2)


@pytest.mark.parametrize(
    "options", [{"rl": Ppo}, {"kl": 0.5}, {"probe": {"every": 2, "problems": 8, "copies": 2}}], ids=str
)
def test_critic_reference_and_probes_resume_in_the_same_bits(options, tmp_path):
    def stop(done, total):
        if done == 3:
            raise Stop

    def made():
        return {name: value() if name == "rl" else value for name, value in options.items()}

    whole = trained(FixedMu(), tmp_path / "whole", **made())
    with pytest.raises(Stop):
        trained(FixedMu(), tmp_path / "broken", progress=stop, **made())
    again = trained(FixedMu(), tmp_path / "broken", **made())
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (whole.ledger, whole.probes) == (again.ledger, again.probes)
    plain = trained(FixedMu(), tmp_path / "plain")
    changed = any(
        not torch.equal(first[key], value) for key, value in load_file(tmp_path / "plain" / "model.safetensors").items()
    )
    assert changed == ("probe" not in options)  # a probe measures, and changes nothing
    assert (whole.ledger == plain.ledger) == ("probe" in options) and bool(whole.probes) == ("probe" in options)


def test_a_probe_says_when_the_target_was_reached_and_what_it_had_cost(tmp_path):
    built = trained(Mixer(), tmp_path, probe={"every": 1, "problems": 8, "copies": 2, "target": 0.01})
    assert [one.step for one in built.probes] == [0, 1, 2, 3] and built.probes[0].compute == 0
    source = data()
    again = module(Mixer(), source=source, probe={"target": 0.01})
    again.load_weights(tmp_path)
    frame = source.frame(again.predict(source, split="test", limit=2))
    found = next(one for one in built.probes if one.success >= 0.01)
    assert set(frame["reached"]) == {1.0} and set(frame["rollouts_to_reach"]) == {float(found.sampled)}
    missed = module(Mixer(), source=source, probe={"target": 1.0})
    missed.load_weights(tmp_path)
    frame = source.frame(missed.predict(source, split="test", limit=2))
    assert set(frame["reached"]) == {0.0} and set(frame["megatokens_to_reach"]) == {built.ledger.compute / 1e6}


def test_a_cell_that_only_evaluates_has_no_cost(tmp_path):
    trained(Imitation(), tmp_path, steps=1)
    source = data()
    looking = module(Mixer(), source=source, tune=False)
    looking.load_weights(tmp_path)
    assert looking.ledger == (0, 0, 0, 0) and looking.mus == []


def test_mu_one_is_sft_and_mu_zero_is_rl(tmp_path):
    for mixer, plain in ((FixedMu(mu=1.0), Imitation()), (FixedMu(mu=0.0), Mixer())):
        trained(mixer, tmp_path / f"a{plain.__class__.__name__}")
        trained(plain, tmp_path / f"b{plain.__class__.__name__}")
        found = [load_file(tmp_path / f"{which}{plain.__class__.__name__}" / "model.safetensors") for which in "ab"]
        assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_the_mixed_gradient_is_the_weighted_sum_of_both(tmp_path):
    seen = {}

    class Watching(FixedMu):
        def weights(self, signals):
            seen["signals"] = signals
            return super().weights(signals)

        def after_step(self, signals, weights, clip_factor, adam):
            seen["clip"], seen["adam"] = clip_factor, adam

    trained(Watching(mu=0.25), tmp_path, steps=1)
    adam = seen["adam"]
    assert adam.step == 1
    for sft, rl, moment in zip(seen["signals"].sft_grads, seen["signals"].rl_grads, adam.first_moments, strict=True):
        mixed = seen["clip"] * (0.25 * sft + 0.75 * rl)
        torch.testing.assert_close(moment, (1 - adam.betas[0]) * mixed, rtol=1e-4, atol=1e-8)


def test_the_gradient_of_utility_raises_what_held_out_rewards_pay():
    built = module(Mixer())
    weight = next(parameter for parameter in built.network.parameters() if parameter.numel() > 1)
    # Two answers to one problem, whose log-probabilities are two entries of one weight; the first is paid.
    logps = weight.flatten()[:2, None]
    rolled = Rolled(logps, logps.detach(), torch.ones(2, 1, dtype=torch.bool), torch.tensor([[1.0, 0.0]]), 0.0)
    found = torch.autograd.grad(utility(rolled), weight)[0]
    # Leave-one-out advantages 1 and -1, the mean over two answers; to be ascended.
    assert found.flatten()[:2].tolist() == [0.5, -0.5] and not found.flatten()[2:].any()


def test_ledger_counts_every_token_once(tmp_path):
    source = data()
    built = trained(Mixer(), tmp_path / "rl", steps=1, skip_equal_groups=False)
    prompt, copies = 7, 4
    written = built.ledger.rollout
    assert 0 < written <= 4 * copies * 5 and built.ledger.validation == 0
    assert built.ledger.read == 4 * prompt
    assert built.ledger.trained == 4 * copies * prompt + written
    assert built.ledger.compute == written + 4 * prompt + 3 * built.ledger.trained
    sft = trained(Imitation(), tmp_path / "sft", steps=1)
    assert sft.ledger == (0, 0, 0, 4 * (prompt + 17)) and len(source.items("train")[0].response.split(" ")) == 16
    amft = trained(MIXERS["amft_new"](), tmp_path / "amft", steps=2)
    assert 0 < amft.ledger.validation <= 8 * 2 * 5  # the first step has no derivative by mu yet


def test_amft_moves_mu_by_its_two_increments_and_keeps_bounds(tmp_path):
    rows = []

    class Log:
        def log_metrics(self, metrics, step):
            rows.append(metrics)

    source = data()
    mixer = Amft(meta_every=1, validation_prompts=8, validation_rollouts=2, meta_lr=0.3, entropy_lr=0.1, mu_max=0.6)
    built = module(mixer, source=source)
    fit(built, source, folder=tmp_path, max_steps=4, accelerator="cpu", checkpoint_every=None, loggers=[Log()],
        log_every=1)  # fmt: skip
    mu = 0.5
    for row in rows:
        mu = min(0.6, max(0.05, mu + row["train/mu_meta_increment"] + row["train/mu_entropy_increment"]))
        assert row["train/mu"] == pytest.approx(mu)
        gap = row["train/target_entropy"] - row["train/entropy"]
        assert row["train/mu_entropy_increment"] == pytest.approx(0.1 * gap)
        assert -1 <= row["train/gradient_cosine"] <= 1
    assert rows[0]["train/mu_meta_increment"] == 0 and any(row["train/mu_meta_increment"] for row in rows[1:])
    assert rows[0]["train/target_entropy"] == rows[3]["train/target_entropy"] == rows[0]["train/entropy"]


@pytest.mark.parametrize("order", ["same", "shuffled", "mean"])
def test_controls_start_where_amft_started_with_its_mu(order, tmp_path):
    amft = trained(Amft(meta_gradient="none", entropy_lr=0.5), tmp_path / "amft", keep_start=True)
    assert len(set(amft.mus)) == 4
    control = module(Replayed(order=order))
    with torch.no_grad():
        next(control.network.parameters()).add_(1.0)
    control.load_weights(tmp_path / "amft")
    start = module(Mixer()).network.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in control.network.state_dict().items())
    source = data()
    fit(control, source, folder=tmp_path / "own", max_steps=4, accelerator="cpu", checkpoint_every=None)
    if order == "mean":
        assert control.mus == pytest.approx([sum(amft.mus) / 4] * 4)
    else:
        assert sorted(control.mus) == pytest.approx(sorted(amft.mus)) and (control.mus == amft.mus) == (order == "same")
        ends = [load_file(tmp_path / run / "model.safetensors") for run in ("amft", "own")]
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0]) == (order == "same")


def test_predictions_are_scored_in_and_out_of_distribution_with_their_cost(tmp_path):
    built, source = trained(Imitation(), tmp_path, steps=1), data()
    again = module(Imitation(), source=source)
    again.load_weights(tmp_path)
    frame = source.frame(again.predict(source, split="test", limit=8))
    assert len(frame) == 8 and frame["id_success"].notna().sum() == frame["ood_success"].notna().sum() == 4
    assert set(frame["megatokens"]) == {built.ledger.compute / 1e6} and set(frame["rollout_tokens"]) == {0.0}
    assert json.loads((tmp_path / "mixing.json").read_text())["mus"] == [1.0]


def test_the_grade_of_a_frame_is_the_worlds(tmp_path):
    source = VerifiedProblems(world=WORLD, seed=0, test=3, ood=2)
    shown = source.items("test")
    right = [Answers(one.id, (one.response, "1"), one.response, 9.0, 0, 0, 0) for one in shown]
    frame = source.frame(right)
    assert frame["success"].tolist() == [0.5] * 5 and frame["greedy"].tolist() == [1.0] * 5
    assert frame["id_success"].isna().tolist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Amft(mu_init=0.99), "mu_min"),
        (lambda: Amft(validation_rollouts=1), "validation_rollouts"),
        (lambda: FixedMu(mu=1.5), "mu"),
        (lambda: Chord(rise=0.9, fall=0.9), "rise"),
        (lambda: Luffy(gamma=0.0), "gamma"),
        (lambda: Replayed(order="other"), "order"),
        (lambda: data(lessons="other"), "lessons"),
        (lambda: data().held_out(0, 99), "validation"),
        (lambda: module(Mixer(), samples=0), "samples"),
        (lambda: module(Luffy(), rl=Ppo()), "compare"),
        (lambda: module(Mixer(), kl=-1.0), "kl"),
        (lambda: module(Mixer(), probe={"target": 0.0}), "probe"),
        (lambda: module(Mixer(), rollout_sampler=Sampler(max_tokens=3, temperature=0.5)), "temperature 1"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
