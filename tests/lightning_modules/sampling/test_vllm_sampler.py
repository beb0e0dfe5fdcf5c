"""vLLM behind the sampler's call: refused where it is missing, and the bookkeeping around an engine that is made up."""

import importlib.machinery
import sys
import types
from typing import ClassVar

import pytest
import torch

from lightning_modules.networks.decoder.config import TinyModel
from lightning_modules.rl.rollouts import score
from lightning_modules.sampling.vllm_sampler import VllmSampler
from tests.lightning_modules.rl.test_rollouts import RATE, WALKS, build_language_model, drawn, problems
from tests.lightning_modules.tiny_models import tiny


class Served:
    def load_weights(self, weights):
        Engine.loaded.append({name: value.clone() for name, value in weights})


class Engine:
    """Writes the end after two or one tokens."""

    made: ClassVar[list] = []
    loaded: ClassVar[list] = []
    asked: ClassVar[list] = []

    def __init__(self, **options):
        Engine.made.append(options)

    def apply_model(self, call):
        return [call(Served())]

    def reset_prefix_cache(self):
        pass

    def generate(self, asked, chosen, use_tqdm):
        Engine.asked.append((asked, chosen))
        end = chosen.stop_token_ids[0]
        rows = [[7, 8, end] if copy % 2 else [9, end] for copy in range(chosen.n)]
        output = types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=row) for row in rows])
        return [output for _ in asked]


@pytest.fixture
def engine(monkeypatch):
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = Engine, lambda **options: types.SimpleNamespace(**options)
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    for kept in (Engine.made, Engine.loaded, Engine.asked):
        kept.clear()


def test_without_vllm_it_is_refused_in_one_line():
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(ValueError, match=r"needs vLLM .* use lightning_modules\.sampling\.sampler\.Sampler") as caught:
        VllmSampler(max_tokens=3)
    assert "\n" not in str(caught.value)


def test_the_engine_gets_the_weights_and_training_scores_what_it_wrote(engine, tokenizer):
    model = tiny("causal", tokenizer).build_language_model()
    sampler = VllmSampler(max_tokens=3, score_batch=3)
    prompts = [[5, 6], [5, 6, 7]]
    found = sampler.sample(model, prompts, copies=2, generator=drawn())
    end = model.codec.end
    assert found.rows() == [[9, end], [7, 8, end]] * 2 and found.finished.all()
    assert [one["prompt_token_ids"] for one in Engine.asked[0][0]] == prompts
    assert Engine.asked[0][1].temperature == 1.0 and Engine.asked[0][1].n == 2
    from lightning_modules.networks.token_batch import padded_batch

    with torch.no_grad():
        again = score(model, padded_batch([p for p in prompts for _ in range(2)], found.rows(), padding=0))
    torch.testing.assert_close(found.logps, again.logps, atol=1e-5, rtol=0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1.0)
    sampler.sample(model, prompts, copies=2, generator=drawn())
    assert len(Engine.made) == 1 and len(Engine.loaded) == 2
    assert all(torch.equal(Engine.loaded[1][name], old + 1.0) for name, old in Engine.loaded[0].items())
    assert len(Engine.loaded[0]) == len(list(model.parameters()))


def test_the_engine_stops_at_every_end_of_the_model(engine, tokenizer):
    model = tiny("causal", tokenizer).build_language_model()
    model.codec.ends = frozenset({model.codec.end, 9})
    found = VllmSampler(max_tokens=3).sample(model, [[5, 6]], copies=2, generator=drawn())
    assert Engine.asked[0][1].stop_token_ids == sorted(model.codec.ends) and found.finished.all()


def test_small_networks_of_ours_are_not_served(engine):
    model = build_language_model(
        TinyModel(optimiser=RATE, width=8, layers=1, heads=2), problems(WALKS, "navigation"), seed=0, trained=True
    )
    with pytest.raises(ValueError, match="transformers library"):
        VllmSampler(max_tokens=3).sample(model, [[1, 4]], copies=1, generator=drawn())


@pytest.mark.parametrize(
    "options", [{"max_tokens": 0}, {"max_tokens": 3, "memory_share": 1.0}, {"max_tokens": 3, "top_p": 0.0}]
)
def test_bad_options_are_refused(engine, options):
    with pytest.raises(ValueError, match=r"wanted|at least"):
        VllmSampler(**options)
