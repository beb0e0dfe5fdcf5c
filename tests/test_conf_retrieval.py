"""The parts of retrieval configs build: no network, no weights read."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from data.files.sources import DataNotFoundError
from data.rag.corpus import Corpus
from data.rag.question_sets import QuestionMix, QuestionSet
from data.records.passages import Passage
from data.retrieval.dense import DenseRetriever
from data.retrieval.transformer_encoder import TransformerEncoder
from sweeps.planning import plan

GROUPS = plan.groups()


def part(group, name):
    with initialize_config_dir(str(plan.CONF), version_base=None):
        config = compose(f"{group}/{name}")
    for key in group.split("/"):
        config = config[key]
    return config


def retriever(name, *overrides):
    with initialize_config_dir(str(plan.CONF), version_base=None):
        return instantiate(compose("config", overrides=[f"retriever={name}", *overrides]).retriever)


def test_number_of_options():
    assert len(GROUPS["data/questions"]) >= 25 and len(GROUPS["data/corpus"]) >= 3 and len(GROUPS["data/order"]) >= 6
    assert {"e5", "contriever", "bge", "minilm", "tfidf_svd", "trained", "oracle", "mixed", "hybrid", "random",
            "bm25"} <= set(GROUPS["retriever"])  # fmt: skip


@pytest.mark.parametrize("name", GROUPS["data/questions"])
def test_every_question_set_builds_under_its_name(name):
    made = instantiate(part("data/questions", name))
    assert isinstance(made, (QuestionSet, QuestionMix)) and made.name == name and made.splits


@pytest.mark.parametrize("name", GROUPS["data/corpus"])
def test_every_corpus_builds_under_its_name(name):
    config = part("data/corpus", name)
    if "files" in config and OmegaConf.is_missing(config.files, "all"):
        config.files.all = "my/passages.jsonl"
    made = instantiate(config)
    assert isinstance(made, Corpus) and made.name == name


@pytest.mark.parametrize("name", GROUPS["data/order"])
def test_every_order_keeps_the_passages(name):
    config = part("data/order", name)
    if "seed" in config:
        config.seed = 0
    passages = [Passage(str(number), "", "x") for number in range(5)]
    assert sorted(instantiate(config).arrange(passages, example_id="q", gold={"2"})) == passages


@pytest.mark.parametrize("name", GROUPS["retriever"])
def test_every_retriever_builds(name):
    made = retriever(name)
    if isinstance(made, DenseRetriever) and isinstance(made.encoder, TransformerEncoder):
        try:
            assert made.key() == retriever(name).key()
        except DataNotFoundError as error:
            # What a table prints behind "not run": the weights by their own name.
            assert made.encoder.weights in str(error)


@pytest.mark.parametrize(
    ("name", "query_prefix", "text_prefix", "pooling", "normalise"),
    [
        ("e5", "query: ", "passage: ", "mean", True),
        ("contriever", "", "", "mean", False),
        ("bge", "Represent this sentence for searching relevant passages: ", "", "first", True),
        ("minilm", "", "", "mean", True),
    ],
)
def test_each_encoder_has_its_own_form(name, query_prefix, text_prefix, pooling, normalise):
    encoder = retriever(name).encoder
    assert (encoder.query_prefix, encoder.text_prefix) == (query_prefix, text_prefix)
    assert (encoder.pooling, encoder.normalise) == (pooling, normalise)


def test_seeds_reach_what_is_trained_wherever_it_stands():
    for name, path in (("trained", None), ("mixed_trained", "dense"), ("hybrid_trained", "dense")):
        made = retriever(name, "seed=5")
        encoder = (made.parts[path] if path else made).encoder
        assert encoder.seed == encoder.training.seed == 5


def test_the_papers_mixture():
    made = instantiate(part("data/questions", "longrag_mix"))
    assert sorted(made.parts) == ["fever", "mmlu", "nq", "wow"] and made.per_part == 12_500
    assert made.splits[0] == "train"
