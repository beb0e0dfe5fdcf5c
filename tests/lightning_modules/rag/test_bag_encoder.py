import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data.retrieval.trained import PairData
from lightning_modules.base import Optimiser
from lightning_modules.rag.bag_encoder import BagEncoder, BagOfVectors, BagTraining

OPTIMISER = Optimiser(learning_rate=0.05, weight_decay=0.0)


def test_a_bag_is_a_weighted_sum_of_unit_length():
    network = BagOfVectors(torch.tensor([1.0, 2.0, 3.0]), 4)
    made = network(torch.tensor([0, 2, 1]), torch.tensor([0, 2]), network.text_weights)
    sums = torch.stack([network.vectors[0] + 3 * network.vectors[2], 2 * network.vectors[1]])
    torch.testing.assert_close(made, sums / sums.norm(dim=1, keepdim=True))


def test_an_empty_bag_is_the_zero_vector():
    network = BagOfVectors(torch.ones(3), 4)
    made = network(torch.tensor([1]), torch.tensor([0, 0]), network.text_weights)
    assert made[0].tolist() == [0] * 4 and made[1].norm().item() == pytest.approx(1)


def test_first_vectors_depend_on_the_seed_alone():
    def first(seed):
        module = BagEncoder(seed=seed, optimiser=OPTIMISER, dimensions=4, temperature=0.1)
        module.attach(PairData([], words=str.split, word_weights=np.ones(3), batch_size=2, seed=0))
        return module.network.vectors.detach()

    torch.manual_seed(7)
    one = first(0)
    assert torch.equal(one, first(0)) and not torch.equal(one, first(1))


def test_a_batch_knows_which_texts_are_the_same():
    batch = BagEncoder(seed=0, optimiser=OPTIMISER, dimensions=4, temperature=0.1).collate(
        [([1], [4, 5], 0), ([2, 3], [6], 1), ([], [4, 5], 0)]
    )
    assert batch.query_words.tolist() == [1, 2, 3] and batch.query_starts.tolist() == [0, 1, 3]
    assert batch.text_words.tolist() == [4, 5, 6, 4, 5] and batch.text_starts.tolist() == [0, 2, 3]
    assert batch.same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_training_learns_that_different_words_mean_the_same(tmp_path):
    # Query word i is answered by text word i + 8; they share nothing at first.
    pairs = [(str(i), str(i + 8)) for i in range(8)] * 4
    data = PairData(
        pairs, words=lambda text: [int(text)], word_weights=np.ones(16, dtype=np.float32), batch_size=8, seed=0
    )
    BagTraining(optimiser=OPTIMISER, dimensions=8, temperature=0.1, max_epochs=12, seed=0).train(data, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    vectors = torch.nn.functional.normalize(weights["vectors"], dim=-1)
    likeness = vectors[:8] @ vectors[8:].T
    assert likeness.argmax(dim=1).tolist() == list(range(8)) and likeness.diagonal().min() > 0.5
    assert set(weights) == {"vectors", "query_weights", "text_weights"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_settings_decide_the_key():
    made = [
        BagTraining(optimiser=OPTIMISER),
        BagTraining(optimiser=OPTIMISER, dimensions=8),
        BagTraining(optimiser=OPTIMISER, seed=1),
        BagTraining(optimiser=Optimiser(learning_rate=0.01)),
    ]
    assert len({str(training.key()) for training in made}) == 4


@pytest.mark.parametrize("bad", [{"dimensions": 0}, {"temperature": 0}, {"max_epochs": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="training wants"):
        BagTraining(optimiser=OPTIMISER, **bad)
