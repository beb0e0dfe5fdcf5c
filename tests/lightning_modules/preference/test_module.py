"""The preference family as a method: objectives, cached scores, the step-0 check, controls, alarms."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException

from data.files.stages import TemporaryStages
from data.records.texts import PreferencePair
from data.worlds.vocabulary import Vocabulary
from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.language_model import LanguageModel, WorldCodec
from lightning_modules.preference.module import REPORT_FILE, PreferenceOptimisation
from lightning_modules.preference.reference import StaleReferenceError
from lightning_modules.preference.source_models import Author
from lightning_modules.preference.source_scores import ScoringPolicy, SourceAlarmError, score_texts
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.objectives import OBJECTIVES, objective
from tests.lightning_modules.tiny_world import tiny_model

CHARACTERS = Vocabulary(tuple("0123456789+= "), separator="")
PAIRS = Vocabulary((*"0123456789+= ", "10", "+1", "12"), separator="")


def author(name, *, seed, vocabulary=PAIRS, limit=32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TinyDecoder(len(vocabulary), width=16, layers=1, heads=2, limit=limit)
    return Author(name, LanguageModel(network, WorldCodec(vocabulary), pretrained=False))


class Pairs:
    """Six pairs over sums, and the models that could have written them."""

    vocabulary = CHARACTERS

    def __init__(self, **authors):
        self.authors = authors
        self.pairs = [
            PreferencePair(f"p{one}", f"{one}+10=", f"{one + 10}", f"{one}12 ", "one", "pivot") for one in range(6)
        ]
        self.count_tokens = None

    def items(self, split, limit=None):
        return self.pairs[:limit]

    def blend(self, pair):
        return pair, pair._replace(chosen=pair.chosen + " ", chosen_author="pivot")

    def leave_out(self, identifiers, reason):
        self.pairs = [pair for pair in self.pairs if pair.id not in identifiers]

    def report(self):
        return {"pairs": len(self.pairs)}


def two_sources():
    return Pairs(one=author("one", seed=1), two=author("two", seed=2, vocabulary=CHARACTERS))


def method_for(data, name="infifpo", *, stages=None, sources=("one", "two"), numbers=None, **options):
    chosen = objective(name, **{**({"source": "one"} if name == "single_reference" else {}), **(numbers or {})})
    options = {"max_share": 1.0, "objective": chosen, "sources": sources, **options}
    method = PreferenceOptimisation(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=4), **options)
    method.attach(data)
    method.prepare(data, stages or TemporaryStages())
    return method


def first_losses(method, data):
    return method.losses(method.collate(data.items("train")))[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_finite_losses_and_moves_the_policy(name):
    data = two_sources()
    method = method_for(data, name)
    losses = first_losses(method, data)
    assert losses.shape == (6,) and losses.isfinite().all()
    losses.mean().backward()
    assert sum(float(weight.grad.abs().sum()) for weight in method.network.parameters() if weight.grad is not None) > 0


@pytest.mark.parametrize("name", ["dpo", "ln_dpo", "f_dpo", "wrpo"])
def test_at_the_start_the_loss_of_dpo_is_log_2(name):
    data = two_sources()
    torch.testing.assert_close(
        first_losses(method_for(data, name), data).detach(), torch.full((6,), math.log(2)), atol=1e-5, rtol=0
    )


def test_infifpo_starts_at_log_2_or_above_and_its_margin_is_that_of_the_losses():
    data = two_sources()
    method = method_for(data)
    losses = first_losses(method, data).detach()
    assert (losses >= math.log(2) - 1e-5).all() and losses.max() > math.log(2) + 1e-3
    # -log sigmoid(-beta m) at the start, so m can be read off the loss.
    margins = torch.log(torch.expm1(losses.double())) / 2.5
    assert float(margins.mean()) == pytest.approx(method.fusion_metrics["fusion/margin_mean"], abs=1e-4)


def test_with_the_pivot_as_its_only_source_infifpo_is_length_normalised_dpo():
    data = two_sources()
    policy = method_for(data, "ln_dpo").network
    data.authors["itself"] = Author("itself", policy)
    fused = method_for(data, sources=("itself",))
    plain = method_for(data, "ln_dpo")
    for method in (fused, plain):
        with torch.no_grad():
            next(method.network.parameters()).add_(0.05)  # away from the start, where both are log 2
        method._check_start = lambda batch, **options: None
    torch.testing.assert_close(first_losses(fused, data), first_losses(plain, data), atol=1e-5, rtol=1e-5)
    assert abs(float(first_losses(plain, data).mean()) - math.log(2)) > 1e-4


def test_the_constant_margin_is_the_mean_of_infifpos():
    data = two_sources()
    constant = method_for(data, "constant_margin")
    assert constant.fusion.margin == pytest.approx(method_for(data).fusion_metrics["fusion/margin_mean"])
    wanted = math.log1p(math.exp(2.5 * constant.fusion.margin))
    assert first_losses(constant, data).tolist() == pytest.approx([wanted] * 6, abs=1e-4)


def test_a_stale_cache_stops_the_run():
    data = two_sources()
    method = method_for(data)
    with torch.no_grad():
        next(method.network.parameters()).add_(0.05)
    with pytest.raises(StaleReferenceError, match="before the first step"):
        first_losses(method, data)


def test_sources_are_scored_once_for_all_methods_and_each_under_its_own_tokenizer():
    data, stages = two_sources(), TemporaryStages()
    method = method_for(data, stages=stages)
    batch = method.collate(data.items("train"))
    # "0+10=" is answered by "10": one piece and the end for the first source, two and the end for the second.
    assert batch.sources.tokens[0].tolist() == [2, 3] and int(batch.bytes[0]) == 2
    ids = torch.tensor([[1, *CHARACTERS.encode("0+10="), *CHARACTERS.encode("10"), 2]])
    network = data.authors["two"].model.network
    logps = network.lm_head(network.hidden(ids)).log_softmax(-1)[0]
    wanted = sum(float(logps[place - 1, ids[0, place]]) for place in range(6, 9))
    assert float(batch.sources.sums[0, 1]) == pytest.approx(wanted, abs=1e-4)
    data.authors["one"].source = partial(pytest.fail, "scored again")  # building the source is allowed, so:
    data.authors["one"].source = author("one", seed=1).source
    built = len(stages._built)
    method_for(data, stages=stages, strategy="average")
    assert len(stages._built) == built + 1  # only the report of the new fusion


def test_the_report_tells_whose_responses_were_won():
    data, stages = two_sources(), TemporaryStages()
    method_for(data, stages=stages)
    (folder,) = [path for path in stages._built.values() if (path / REPORT_FILE).is_file()]
    report = json.loads((folder / REPORT_FILE).read_text())
    assert sum(report["winners_by_author"]["chosen"]["one"].values()) == 6
    assert sum(report["winners_by_author"]["rejected"]["pivot"].values()) == 6
    shares = [report["numbers"][f"wins_rejected_{name}"] for name in ("one", "two")]
    assert sum(shares) + report["numbers"]["clip_rate_rejected"] == pytest.approx(1.0)


def test_a_source_that_wins_nearly_all_is_named():
    data = two_sources()
    with torch.no_grad():
        for weight in data.authors["two"].model.parameters():
            weight.mul_(6.0)  # far too sure of itself: the worst scorer of every rejected response
    data.authors["two"] = Author("two", data.authors["two"].model)
    with pytest.raises(SourceAlarmError, match="two wins"):
        method_for(data, max_share=0.9)


def test_pairs_longer_than_a_source_reads_are_dropped():
    data = Pairs(one=author("one", seed=1), short=author("short", seed=2, limit=9))
    data.pairs[0] = data.pairs[0]._replace(rejected="0123456789")
    method = method_for(data, sources=("one", "short"))
    assert len(data.pairs) == 5 and first_losses(method, data).shape == (5,)


def test_bad_options_are_refused():
    for options, said in (
        ({"objective": "dpo"}, "as in objective=dpo"),
        ({"sources": ()}, "at least one"),
        ({"name": "single_reference", "numbers": {"source": "three"}}, "objective.source is 'three'"),
        ({"name": "single_reference", "numbers": {"source": None}}, "objective.source is None"),
        ({"scope": "per_pair", "strategy": "average"}, "per_pair"),
        ({"numbers": {"beta": -1.0}}, "objective.beta"),
        ({"name": "dpo", "numbers": {"label_smoothing": 0.6}}, "objective.label_smoothing"),
        ({"name": "f_dpo", "numbers": {"divergence": "total_variation"}}, "objective.divergence"),
        ({"name": "f_dpo", "numbers": {"max_slope": 0.5}}, "objective.max_slope"),
        ({"name": "simpo", "numbers": {"gamma": -0.1}}, "objective.gamma"),
        ({"name": "wrpo", "numbers": {"alpha": 1.1}}, "objective.alpha"),
        ({"name": "infifpo_wrpo", "numbers": {"alpha": -0.1}}, "objective.alpha"),
        ({"max_share": 0.0}, "max_share"),
        ({"sources": ("three",)}, "three"),
    ):
        with pytest.raises((ValueError, InstantiationException), match=said):
            method_for(two_sources(), **options)


def test_wrpos_blend_is_of_the_sources_response_at_alpha_one_and_of_the_pivots_at_zero():
    def losses(name, data, **numbers):
        method = method_for(data, name, numbers={"beta": 0.1, **numbers})
        method._check_start = lambda batch, **options: None  # this policy has moved before its first step
        with torch.no_grad():
            for parameter in method.network.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
        return first_losses(method, data)

    class PivotsOwn(Pairs):
        def items(self, split, limit=None):
            return [self.blend(pair)[1] for pair in self.pairs[:limit]]

        def blend(self, pair):
            return pair, pair._replace(chosen=f"{pair.chosen.rstrip()} ", chosen_author="pivot")

    by_source, by_pivot = losses("dpo", Pairs()), losses("dpo", PivotsOwn())
    assert not torch.allclose(by_source, by_pivot)
    torch.testing.assert_close(losses("wrpo", Pairs(), alpha=1.0), by_source)
    torch.testing.assert_close(losses("wrpo", Pairs(), alpha=0.0), by_pivot)


@pytest.mark.parametrize("terminator", ["one", "none"])
def test_a_prompt_read_once_for_two_responses_gives_the_scores_of_each_by_itself(terminator):
    source = author("one", seed=1).source()
    assert source.responses is not None
    texts = [("1+1=", "2"), ("2+9=", "11"), ("2+9=", "1"), ("2+9=", "101"), ("3", "1"), ("3", "12345678"), ("3", "7")]
    policy = ScoringPolicy(terminator=terminator)
    for batch in (1, 2, 8):
        shared = score_texts(source, texts, policy, batch=batch)
        apart = score_texts(replace(source, responses=None), texts, policy, batch=batch)
        assert np.allclose(shared.sums, apart.sums, atol=1e-5)
        assert shared.tokens.tolist() == apart.tokens.tolist() and len(set(apart.sums.round(6))) == len(texts)
    short = replace(source, positions=8)
    assert np.isnan(score_texts(short, texts, policy).sums).tolist() == [False] * 5 + [True, False]
