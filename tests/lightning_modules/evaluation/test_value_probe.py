"""Values read by the probe against what the logits say by hand, on the world of sums."""

import pytest
import torch

from data.records.values import PrefixPair
from lightning_modules.evaluation.value_probe import ValueProbe
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.tiny_world import SumData, sums, tiny_model


class PrefixData(SumData):
    def prefixes(self, split, limit=None):
        return [PrefixPair(one.id, one.prompt, one.response, "is 10") for one in sums()[:5]]


def probe(estimate):
    method = ValueProbe(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=3), estimate=estimate, samples=2)
    method.attach(PrefixData())
    return method


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin")
    probe("value").save_weights(folder)
    return folder


def read(estimate, weights, *, move=0.0):
    method = probe(estimate)
    method.load_origin(weights)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter += move * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    return method, method.predict(PrefixData(), split="test")


def test_a_policy_that_has_not_moved_has_no_value_over_its_base(weights):
    for estimate in ("value", "log_ratio"):
        _, readings = read(estimate, weights)
        assert len(readings) == 5
        assert all(abs(number) < 1e-5 for one in readings for number in (*one.good, *one.corrupted, *one.rewards))


def test_values_are_logsumexps_of_policy_and_base_at_the_prefix_states(weights):
    method, readings = read("value", weights, move=0.1)
    one = sums()[2]
    codec = method.network.codec
    ids = torch.tensor([codec.prompt_ids([one.prompt])[0] + codec.response_ids([one.response])[0][:-1]])
    with torch.no_grad():
        policy, base = (
            net.causal.lm_head(net.causal.hidden(ids))[0] for net in (method.network, method.origin.network)
        )
    wanted = (policy.logsumexp(-1) - base.logsumexp(-1))[-3:]
    torch.testing.assert_close(torch.tensor(readings[2].good), wanted, atol=1e-5, rtol=1e-4)


def test_reward_is_first_value_plus_log_ratio(weights):
    _, values = read("value", weights, move=0.1)
    _, ratios = read("log_ratio", weights, move=0.1)
    for value, ratio in zip(values, ratios, strict=True):
        assert value.written == ratio.written and len(value.ends) == 2 and ratio.ends == ()
        apart = [one - other for one, other in zip(value.rewards, ratio.rewards, strict=True)]
        # V of the first state is that of the prompt, the same for every response to it.
        assert apart == pytest.approx([value.good[0]] * 2, abs=1e-4)


def test_rewards_that_raw_values_induce_are_the_first_value_plus_the_log_probability(weights):
    _, raw = read("raw_value", weights, move=0.1)
    _, means = read("mean_logp", weights, move=0.1)
    for value, mean in zip(raw, means, strict=True):
        for reward, other, text in zip(value.rewards, mean.rewards, value.written, strict=True):
            # The mean is over the text's tokens and, where it ended by itself, its end.
            counts = (len(text.split()), len(text.split()) + 1)
            assert any(reward == pytest.approx(value.good[0] + other * count, abs=1e-3) for count in counts)


def test_length_prefers_short_responses_and_responses_begin_with_their_prefix(weights):
    _, readings = read("length", weights, move=0.1)
    assert all(one.good == (0.0, -1.0, -2.0) and one.corrupted == one.good for one in readings)
    assert all(text.startswith("is 10") for one in readings for text in one.from_corrupted)


def test_an_unknown_estimate_or_no_base_is_refused():
    with pytest.raises(ValueError, match=r"method\.estimate"):
        probe("q")
    with pytest.raises(ValueError, match="base"):
        probe("value").predict(PrefixData(), split="test")
