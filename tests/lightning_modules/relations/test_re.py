"""Relation extraction by a generator, from the prompts to the predictions."""

import pytest
import torch

from lightning_modules.networks.answerer.interface import AnswerScores
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training.fit import fit
from tests.lightning_modules.tiny_models import KINDS, LABELS, Corpus, optimiser, tiny

PROMPT = "The <e1>fire</e1> led to the <e2>loss</e2>."


def attached(kind, tokenizer, *, data=None, rate=1e-2, **options):
    module = RelationGenerator(model=tiny(kind, tokenizer, optimiser=optimiser(learning_rate=rate)), seed=0, **options)
    module.attach(data or Corpus())
    return module


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory):
    """Folders of weights that know the ten sentences by heart, one per kind of model."""
    folders = {}

    def of(kind):
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            data = Corpus(batch_size=10)
            module = attached(kind, tokenizer, data=data)
            fit(module, data, folder=folders[kind], max_steps=150, accelerator="cpu", checkpoint_every=None)
        return folders[kind]

    return of


@pytest.mark.parametrize("decoding", ["constrained", "free"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_sentences_are_learnt_by_heart(kind, decoding, tokenizer, trained):
    data = Corpus(k=2)
    module = attached(kind, tokenizer, data=data, decoding=decoding)
    module.load_weights(trained(kind))
    seen = []
    predictions = module.predict(
        data, split="train", limit=None, progress=lambda done, total: seen.append((done, total))
    )
    assert [prediction.example_id for prediction in predictions] == [example.id for example in data.train]
    assert [prediction.prediction for prediction in predictions] == [example.label for example in data.train]
    assert [prediction.gold for prediction in predictions] == [example.label for example in data.train]
    assert predictions[0].retrieved == ("train-1", "train-2") and seen[-1] == (10, 10)
    if decoding == "free":  # the marked generator spells labels exactly; the tokenizer of the others is uncased
        assert predictions[0].output == ("Cause-Effect(e1,e2)" if kind == "marked" else "cause - effect ( e1, e2 )")


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_deterministic_and_independent_of_the_batch(kind, tokenizer):
    first = attached(kind, tokenizer, predict_batch=3).predict(Corpus(), split="train", limit=None)
    again = attached(kind, tokenizer, predict_batch=10).predict(Corpus(), split="train", limit=None)
    assert first == again and {prediction.prediction for prediction in first} <= set(LABELS)
    assert attached(kind, tokenizer).predict(Corpus(), split="train", limit=4) == first[:4]


def test_an_output_that_names_no_label_is_invalid_not_guessed(tokenizer):
    module = attached("marked", tokenizer, decoding="free", max_answer_tokens=2)
    predictions = module.predict(Corpus(), split="train", limit=None)
    assert all(prediction.prediction == "" and prediction.output for prediction in predictions)


def test_without_tuning_nothing_is_trained(tokenizer):
    assert attached("marked", tokenizer, tune=False).trains is False
    assert attached("marked", tokenizer).trains is True


def test_constrained_decoding_takes_the_most_probable_label(tokenizer):
    module = attached("causal", tokenizer)
    predictions = module.predict(Corpus(), split="train", limit=None)
    for prediction, prompt in zip(predictions, Corpus().prompts("train"), strict=True):
        sums = module.network.score([prompt.text], LABELS).sums[0]
        assert prediction.prediction == LABELS[int(sums.argmax())]


def test_length_normalised_decoding_takes_the_most_probable_label_per_token(tokenizer, monkeypatch):
    # Means: -0.6, -0.8, -1.8, -1.25. The short fourth label wins by its sum, the first by its mean.
    scores = AnswerScores(torch.tensor([[-3.0, -4.0, -9.0, -2.5]]), torch.tensor([5, 5, 5, 2]))
    for length_normalised, expected in ((True, LABELS[0]), (False, LABELS[3])):
        module = attached("causal", tokenizer, length_normalised=length_normalised)
        monkeypatch.setattr(module.network, "score", lambda prompts, labels: scores)
        assert module.predict(Corpus(), split="train", limit=1)[0].prediction == expected


@pytest.mark.parametrize("per_sequence", ["sum", "mean"])
def test_losses_are_those_of_the_answers(per_sequence, tokenizer):
    module = attached("seq2seq", tokenizer, per_sequence=per_sequence)
    module.network.eval()
    prompts = Corpus().prompts("train")[:4]
    losses, tokens = module.losses(module.collate(prompts))
    scores = module.network.score([prompt.text for prompt in prompts], LABELS)
    for row, prompt in enumerate(prompts):
        column = LABELS.index(prompt.target)
        share = 1 if per_sequence == "sum" else int(scores.lengths[column])
        assert losses[row].item() == pytest.approx(-scores.sums[row, column].item() / share, rel=1e-4)
    read = sum(module.network.count_tokens(prompt.text) for prompt in prompts)
    assert int(tokens) == read + sum(int(scores.lengths[LABELS.index(prompt.target)]) for prompt in prompts)


def test_the_budget_of_a_prompt_is_counted_by_the_models_tokenizer(tokenizer):
    data = Corpus()
    module = attached("marked", tokenizer, data=data)
    assert data.count_tokens(PROMPT) == len(module.network.encoder.ids([PROMPT])[0])


def test_weights_trained_on_other_labels_load(tokenizer, tmp_path):
    """The general model: trained on other relations, asked about these."""

    class Other(Corpus):
        def prompts(self, split, limit=None):
            return [prompt._replace(target="part of") for prompt in super().prompts(split, limit)]

    general = Other(labels=("part of", "child"))
    module = attached("marked", tokenizer, data=general)
    fit(module, general, folder=tmp_path, max_steps=3, accelerator="cpu", checkpoint_every=None)
    target = attached("marked", tokenizer, tune=False)
    before = target.network.score([PROMPT], LABELS).sums
    target.load_weights(tmp_path)
    assert not torch.equal(before, target.network.score([PROMPT], LABELS).sums)


@pytest.mark.parametrize(
    ("options", "said"), [({"max_answer_tokens": 0}, "max_answer"), ({"predict_batch": 0}, "predict_b")]
)
def test_bad_options_are_refused(options, said, tokenizer):
    with pytest.raises(ValueError, match=said):
        RelationGenerator(model=tiny("marked", tokenizer), seed=0, **options)
