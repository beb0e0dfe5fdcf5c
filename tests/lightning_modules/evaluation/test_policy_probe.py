"""What the probe reads against the distributions themselves, on the world of sums."""

import pytest
import torch

from data.records.probes import Probe
from data.records.texts import Demonstration
from lightning_modules.evaluation.policy_probe import PolicyProbe
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.tiny_world import SumData, sums, tiny_model


class ProbeData(SumData):
    def probes(self, split, limit=None):
        items = sums()[:4]
        return [
            Probe(one.id, one.prompt, one.response, Demonstration("k", other.prompt, other.response))
            for one, other in zip(items, items[1:] + items[:1], strict=True)
        ]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The probe of a policy that has moved away from its base, and its readings."""
    folder = tmp_path_factory.mktemp("origin")
    method = PolicyProbe(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=3), samples=2)
    method.attach(ProbeData())
    method.save_weights(folder)
    method.load_origin(folder)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    return method, method.predict(ProbeData(), split="test")


def distributions(method, prompt, response_ids):
    """Log-probabilities of the next token under policy and base, (L, V) each, at the states of a response."""
    ids = torch.tensor([[*method.network.codec.prompt_ids([prompt])[0], *response_ids]])
    with torch.no_grad():
        both = (net.causal.lm_head(net.causal.hidden(ids))[0] for net in (method.network, method.origin.network))
        return [one.double().log_softmax(-1)[-len(response_ids) - 1 : -1] for one in both]


def test_divergence_is_of_the_policy_from_its_base_along_the_policys_own_texts(read):
    method, readings = read
    codec = method.network.codec
    for probe, reading in zip(ProbeData().probes("test"), readings, strict=True):
        kls, reverse, entropies = [], [], []
        for one in reading.completions:
            ids = [codec.vocabulary.pieces.index(piece) for piece in one.response.split()]
            ids = [*ids, codec.end] if one.finished else ids
            policy, base = distributions(method, probe.prompt, ids)
            kls.append((policy.exp() * (policy - base)).sum().item())
            reverse.append((base.exp() * (base - policy)).sum().item())
            entropies.append(-(policy.exp() * policy).sum(-1).mean().item())
        assert reading.kl_to_base == pytest.approx(sum(kls) / 2, rel=1e-3)
        assert reading.kl_to_base != pytest.approx(sum(reverse) / 2, rel=1e-2)
        assert reading.entropy == pytest.approx(sum(entropies) / 2, rel=1e-3)


def test_likelihoods_are_per_token_and_the_log_ratio_is_of_the_whole(read):
    method, readings = read
    for probe, reading in zip(ProbeData().probes("test"), readings, strict=True):
        found = []
        for prompt, response in ((probe.prompt, probe.demonstration), probe.knowledge[1:]):
            (ids,) = method.network.codec.response_ids([response])
            policy, base = distributions(method, prompt, ids)
            found.append([one[range(len(ids)), ids] for one in (policy, base)])
        (shown, shown_base), (known, _) = found
        assert reading.demonstration_nll == pytest.approx(-shown.mean().item(), rel=1e-3)
        assert reading.demonstration_log_ratio == pytest.approx((shown - shown_base).sum().item(), rel=1e-3, abs=1e-4)
        assert reading.knowledge_nll == pytest.approx(-known.mean().item(), rel=1e-3)


def test_without_a_base_it_says_what_to_give():
    method = PolicyProbe(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=3))
    method.attach(ProbeData())
    with pytest.raises(ValueError, match="base"):
        method.predict(ProbeData(), split="test")
