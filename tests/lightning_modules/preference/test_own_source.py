"""A pivot that is its own only source: what it reads and scores is one thing, whatever its tokenizer."""

import pytest
import torch

from data.files.sources import DataNotFoundError, locate
from data.files.stages import TemporaryStages
from data.records.texts import PreferencePair
from lightning_modules.base import Optimiser
from lightning_modules.networks.hub.pretrained import Pretrained
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.preference.source_models import Author
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.chat_tokenizers import LOSSLESS, TEMPLATES, save_model
from tests.lightning_modules.objectives import objective

WRAPPER = "User: {prompt}\nAnswer:"
TEXTS = (
    ("What is the capital of France?", "Paris is.", "the sea"),
    ("Name a river.", " The river runs to the sea.\n", "Do not <|im_end|> this </s> here"),
    ("", "Gr\u00fc\u00dfe", "\n\n- a list\n- of two"),
)


class Pairs:
    """What the method asks of its data."""

    def __init__(self):
        self.authors = {}
        self.count_tokens = None

    def items(self, split, limit=None):
        return [PreferencePair(str(number), *texts) for number, texts in enumerate(TEXTS)]

    def report(self):
        return {}

    def leave_out(self, identifiers, reason):
        raise AssertionError(reason)


def check(model):
    """Policy, initial pivot and source agree on every pair, in sum and in number of tokens."""
    data = Pairs()
    data.authors["itself"] = Author("itself", model.build_language_model())
    options = {"objective": objective("infifpo"), "sources": ("itself",), "max_share": 1.0}
    method = PreferenceOptimisation(model=model, seed=0, sampler=Sampler(max_tokens=4), **options)
    method.attach(data)
    method.prepare(data, TemporaryStages())
    batch = method.collate(data.items("train"))
    assert batch.sources.tokens[:, 0].tolist() == batch.reference.lengths.tolist()
    torch.testing.assert_close(batch.sources.sums[:, 0].float(), batch.reference.sums, atol=1e-4, rtol=0)
    assert method.fusion_metrics["fusion/margin_mean"] == pytest.approx(0.0, abs=1e-4)
    assert len({round(value, 3) for value in batch.reference.sums.tolist()}) == 2 * len(TEXTS), "they differ"


def saved(folder, tokenizer, **options):
    save_model(folder, tokenizer)
    return Pretrained(
        kind="causal",
        weights=str(folder),
        architecture={"model_type": "llama"},
        prompt_limit=300,
        optimiser=Optimiser(learning_rate=1e-4),
        **options,
    )


@pytest.mark.parametrize("wrapper", ["{prompt}", WRAPPER])
@pytest.mark.parametrize("maker", LOSSLESS)
def test_without_a_chat_template_the_margin_is_0(maker, wrapper, tmp_path):
    check(saved(tmp_path, LOSSLESS[maker](), prompt_wrapper=wrapper))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("maker", LOSSLESS)
def test_under_a_chat_template_the_margin_is_0(maker, template, tmp_path):
    if (maker, template) == ("gpt2_with_prefix", "qwen3"):
        pytest.skip("this tokenizer puts a space behind <think>, so that its tokens do not spell the text")
    check(saved(tmp_path, LOSSLESS[maker](chat_template=TEMPLATES[template])))


def test_with_gpt2s_own_tokenizer_the_margin_is_0(tmp_path):
    from transformers import GPT2TokenizerFast

    try:
        files = [str(locate(f"tokenizers/gpt2/{name}")) for name in ("encoder.json", "vocab.bpe")]
    except DataNotFoundError:
        pytest.skip("the data root has no tokenizers/gpt2")
    check(saved(tmp_path, GPT2TokenizerFast(vocab=files[0], merges=files[1]), prompt_wrapper=WRAPPER))


def test_smollm2s_margin_is_0(smollm2_folder):
    model = Pretrained(
        kind="causal",
        weights=str(smollm2_folder),
        architecture={"model_type": "llama"},
        prompt_limit=512,
        optimiser=Optimiser(learning_rate=1e-4),
    )
    check(model)
