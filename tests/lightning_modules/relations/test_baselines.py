"""The baselines: constant class, the neighbours' vote, the linear SVM, the encoder with a linear head."""

import pytest
import torch

from data.records.relations import Neighbour, RelationExample
from lightning_modules.relations.constant import Constant
from lightning_modules.relations.encoder_head import EncoderHead
from lightning_modules.relations.linear_svm import LinearSvm, features
from lightning_modules.relations.linear_svm_votes import LinearSvmVotes
from lightning_modules.relations.neighbour_label import NeighbourLabel
from lightning_modules.training.fit import fit
from tests.lightning_modules.tiny_models import LABELS, Corpus, optimiser, tiny


def answers(method, data, limit=None):
    method.attach(data)
    predictions = method.predict(data, split="train", limit=limit, progress=None)
    assert [one.example_id for one in predictions] == [one.example_id for one in data.prompts("train", limit)]
    assert [one.gold for one in predictions] == [one.target for one in data.prompts("train", limit)]
    return [one.prediction for one in predictions]


def test_constant_answers_the_most_frequent_label_and_the_first_of_equals():
    # Two labels occur three times each; the inventory names Cause-Effect(e1,e2) first.
    assert set(answers(Constant(), Corpus())) == {LABELS[0]}
    assert set(answers(Constant(), Corpus(labels=LABELS[::-1]))) == {LABELS[1]}


def test_constant_answers_a_given_label():
    assert answers(Constant(answer="Other"), Corpus(), limit=3) == ["Other"] * 3
    with pytest.raises(ValueError, match="Elsewhere"):
        Constant(answer="Elsewhere").attach(Corpus())


class Budgeted(Corpus):
    """Prompts that cannot be made before somebody counts their tokens."""

    def prompts(self, split, limit=None):
        assert self.count_tokens("three words here") == 3
        return super().prompts(split, limit)


@pytest.mark.parametrize("method", [Constant(), NeighbourLabel(), LinearSvm(seed=0), LinearSvmVotes(seed=0)])
def test_without_a_tokenizer_a_prompts_budget_counts_words(method):
    assert len(answers(method, Budgeted(k=1))) == 10


def test_one_neighbour_is_copied():
    # The neighbours of the corpus are simply the other sentences in order: the first has the second's label, and so on.
    assert answers(NeighbourLabel(), Corpus(k=1))[:3] == [LABELS[0], LABELS[0], LABELS[0]]
    predictions = NeighbourLabel().predict(Corpus(k=1), split="train", limit=2, progress=None)
    assert predictions[0].retrieved == ("train-1",)


def test_neighbours_vote_and_the_nearest_breaks_ties():
    # Sentence 0: neighbours 1, 2, 3 with labels 0, 1, 1. With four neighbours: 0, 1, 1, 2.
    assert answers(NeighbourLabel(), Corpus(k=3))[0] == LABELS[1]
    # Sentence 2: neighbours 0, 1, 3, 4 with labels 0, 0, 1, 2; sentence 9: 0, 1, 2, 3 with 0, 0, 1, 1: a tie.
    assert answers(NeighbourLabel(), Corpus(k=4))[9] == LABELS[0]


def test_weighted_votes_count_scores():
    # Sentence 9 is nearest to 8 but its list starts with 0: scores 1/10, 1/9, 1/8, 1/7 for labels 0, 0, 1, 1.
    assert answers(NeighbourLabel(weighted=True), Corpus(k=4))[9] == LABELS[1]


def test_neighbours_that_are_not_in_the_prompt_cannot_vote():
    with pytest.raises(ValueError, match="no prompt has a neighbour"):
        answers(NeighbourLabel(), Corpus(k=0))


def test_features_tell_where_words_stand():
    found = features(
        RelationExample("1", "Old <e1>Fire</e1> led to <e2>big losses</e2> here.", "Fire", "big losses", "Other")
    )
    for wanted in (
        "word=old",
        "between=led to",
        "opens=led to",
        "whole=led to",
        "distance=2",
        "opening=e1",
        "head=fire",
        "tail_last=losses",
        "tail_ending=ses",
        "before0=old",
        "after0=here",
    ):
        assert wanted in found
    turned = features(RelationExample("2", "<e2>loss</e2> by <e1>fire</e1>", "fire", "loss", "Other"))
    assert "opening=e2" in turned and "head=fire" in turned and "between=by" in turned
    with pytest.raises(ValueError, match="example 3 does not mark two entities"):
        features(RelationExample("3", "<e1>one</e1> only", "one", "", "Other"))


def test_linear_svm_learns_and_is_deterministic():
    data = Corpus()
    first = answers(LinearSvm(seed=0, penalty=10.0, min_count=1), data)
    assert first == [example.label for example in data.train]
    assert answers(LinearSvm(seed=0, penalty=10.0, min_count=1), data, limit=4) == first[:4]


@pytest.mark.parametrize(("options", "said"), [({"penalty": 0.0}, "penalty"), ({"min_count": 0}, "min_count")])
def test_bad_svm_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LinearSvm(seed=0, **options)


def head(tokenizer, **options):
    model = tiny("marked", tokenizer, optimiser=optimiser(learning_rate=5e-3))
    return EncoderHead(**{"model": model, "seed": 0, **options})


def test_encoder_head_learns_ten_sentences_by_heart(tokenizer, tmp_path):
    data = Corpus(batch_size=10)
    module = head(tokenizer)
    module.attach(data)
    fit(module, data, folder=tmp_path, max_steps=100, accelerator="cpu", checkpoint_every=None)
    fresh = head(tokenizer, predict_batch=3)
    before = answers(fresh, data)
    fresh.load_weights(tmp_path)
    after = [one.prediction for one in fresh.predict(data, split="train", limit=None, progress=None)]
    assert after == [example.label for example in data.train] != before


def test_encoder_head_reads_the_tags_and_nothing_else(tokenizer):
    """Its loss is the cross-entropy of a linear map of the two states at the tags."""
    data = Corpus()
    module = head(tokenizer, dropout=0.0)
    module.attach(data)
    module.network.eval()
    batch = module.collate(data.prompts("train"))
    losses, tokens = module.losses(batch)
    pair = module.network.encoder.read(batch).flatten(1)
    logits = pair @ module.network.head.weight.T + module.network.head.bias
    expected = torch.logsumexp(logits, -1) - logits[torch.arange(10), batch["targets"]]
    assert torch.allclose(losses, expected, atol=1e-5) and int(tokens) == int(batch["attention_mask"].sum())


def test_encoder_head_refuses_what_it_cannot_use(tokenizer):
    with pytest.raises(ValueError, match="method=encoder_head needs a model"):
        EncoderHead(model=tiny("causal", tokenizer), seed=0)
    for options in ({"dropout": 1.0}, {"predict_batch": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            head(tokenizer, **options)
    module = head(tokenizer)
    data = Corpus()
    module.attach(data)
    long = data.prompts("train")[0]._replace(text="<e1>a</e1> <e2>b</e2> " + "to " * 200)
    with pytest.raises(ValueError, match=r"prompt\.budget"):
        module.collate([long])


class Copies(Corpus):
    """Every sentence's one neighbour is itself: what a leak shows a classifier."""

    def neighbours(self, split):
        return [[Neighbour(one.id, 1.0)] for one in self.train]


def test_votes_decide_where_the_words_do_not():
    # No textual feature occurs in 99 sentences, so the votes are all there is; neighbours by themselves leak the label.
    method = LinearSvmVotes(seed=0, min_count=2, vote_weight=3.0)
    leaked = Copies(k=1)
    gold = [example.label for example in leaked.train]
    assert answers(method, leaked) == gold
    # The same machine on neighbours of other sentences follows their labels instead: sentence 0's is sentence 1's.
    honest = Corpus(k=1)
    votes = [honest.lookup(hits[0].id).label for hits in honest.neighbours("train")]
    found = [one.prediction for one in method.predict(honest, split="train")]
    assert [one == vote for one, vote in zip(found, votes, strict=True)].count(True) > len(gold) / 2
    assert found != gold
    assert method.predict(honest, split="train", limit=2)[0].retrieved == ("train-1",)


def test_without_votes_it_is_the_linear_svm():
    plain, votes = LinearSvm(seed=0), LinearSvmVotes(seed=0, vote_weight=0.0)
    assert answers(plain, Corpus()) == answers(votes, Corpus())


@pytest.mark.parametrize(
    ("options", "said"), [({"penalty": 0}, "penalty"), ({"min_count": 0}, "min_count"), ({"vote_weight": -1}, "vote")]
)
def test_bad_options_of_the_voting_svm_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LinearSvmVotes(seed=0, **options)


def test_the_voting_svm_without_neighbours_says_what_to_do():
    with pytest.raises(ValueError, match=r"prompt\.k"):
        LinearSvmVotes(seed=0).attach(Corpus(k=0))
