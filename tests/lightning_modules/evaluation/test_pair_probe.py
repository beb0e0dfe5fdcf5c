"""Pairs read by policy and reference: each estimate by hand, what is shared, what is refused."""

import pytest
import torch

from data.files.stages import TemporaryStages
from data.records.texts import PreferencePair
from lightning_modules.evaluation.pair_probe import ESTIMATES, PairProbe
from tests.lightning_modules.tiny_world import SumData, tiny_model

PAIRS = [
    PreferencePair("long", "1 + 2 =", "is 3 3 3", "is 4"),
    PreferencePair("short", "2 + 2 =", "is 4", "4 is 4 is"),
    PreferencePair("equal", "0 + 1 =", "is 1", "is 2"),
]


class PairData(SumData):
    def items(self, split, limit=None):
        return PAIRS[:limit]


def probe(estimate="log_ratio", move=0.0, stages=None, **options):
    method = PairProbe(model=tiny_model(), seed=3, estimate=estimate, **options)
    method.attach(PairData())
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter += move * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    method.prepare(PairData(), stages or TemporaryStages())
    return method


def readings(method, limit=None):
    return method.predict(PairData(), split="test", limit=limit)


def own_logps(network, prompt, response):
    """Log-probabilities of a response's tokens and of its end, token by token, without any of the probe's code."""
    (ids,), (answer,) = network.codec.prompt_ids([prompt]), network.codec.response_ids([response])
    found = []
    for place, token in enumerate(answer):
        states = network.network.hidden(torch.tensor([[*ids, *answer[:place]]]))
        found.append(network.network.lm_head(states[0, -1]).log_softmax(-1)[token].item())
    return found


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 32])
def test_estimates_by_hand(batch):
    for estimate in ("log_ratio", "mean_log_ratio", "logp", "mean_logp"):
        method = probe(estimate, move=0.1, score_batch=batch)
        for pair, reading in zip(PAIRS, readings(method), strict=True):
            for response, value in ((pair.chosen, reading.chosen), (pair.rejected, reading.rejected)):
                policy = own_logps(method.network.eval(), pair.prompt, response)
                origin = own_logps(method.origin.eval(), pair.prompt, response)
                wanted = sum(policy) - ("ratio" in estimate) * sum(origin)
                wanted /= len(policy) if estimate.startswith("mean") else 1
                assert value == pytest.approx(wanted, abs=1e-4), estimate


def test_a_policy_that_is_its_reference_has_no_implicit_reward():
    assert all(one.chosen == one.rejected == 0 for one in readings(probe()))
    assert any(one.chosen != 0 for one in readings(probe(move=0.1)))


def test_length_and_chance_need_no_network():
    by_length = readings(probe("longer"))
    assert [(one.chosen, one.rejected) for one in by_length] == [(8, 4), (4, 9), (4, 4)]
    chance = readings(probe("random"))
    assert chance == readings(probe("random")) and len({one.chosen for one in chance}) == 3


def test_estimates_of_one_policy_share_scores_and_another_policy_has_its_own():
    class Counting(TemporaryStages):
        built = 0

        def get(self, kind, key, build):
            def counted(folder):
                Counting.built += 1
                build(folder)

            return super().get(kind, key, counted)

    stages = Counting()
    for estimate in ESTIMATES:
        readings(probe(estimate, move=0.1, stages=stages))
    assert Counting.built == 2  # of policy and reference
    readings(probe(move=0.2, stages=stages))
    assert Counting.built == 3


def test_trained_weights_reach_the_policy_and_not_the_reference(tmp_path):
    trained = probe(move=0.1)
    trained.save_weights(tmp_path)
    loaded = probe()
    loaded.load_weights(tmp_path)
    assert readings(loaded) == readings(trained)


def test_a_published_reference_takes_the_place_of_the_models_own_start():
    method = PairProbe(model=tiny_model(), reference=tiny_model(), seed=3)
    method.attach(PairData())
    method.prepare(PairData(), TemporaryStages())
    assert all(one.chosen == pytest.approx(0, abs=1e-5) for one in readings(method))


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match=r"method\.estimate must be one of log_ratio, mean_log_ratio"):
        PairProbe(model=tiny_model(), seed=0, estimate="beam")
    with pytest.raises(ValueError, match=r"method\.score_batch must be at least 1"):
        PairProbe(model=tiny_model(), seed=0, score_batch=0)
    broken = probe(move=float("nan"))
    with pytest.raises(ValueError, match="6 responses have no finite log-probability"):
        readings(broken)
    with pytest.raises(ValueError, match=r"call method\.prepare"):
        method = PairProbe(model=tiny_model(), seed=0)
        method.attach(PairData())
        readings(method)
