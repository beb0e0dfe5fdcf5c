import pytest

from data.relations.label_counts import GoldCounts
from data.scoring.registry import scores_of
from lightning_modules.relations.constant import Constant


def made(**counts):
    return GoldCounts(name="c", counts=counts, none_label="no_relation", source="by hand", seed=0)


def test_a_constant_answer_scores_on_counts_what_arithmetic_says():
    data = made(no_relation=8, a_relation=2)
    method = Constant(answer="no_relation")
    method.attach(data)
    frame = data.frame(method.predict(data, split="test", limit=None, progress=None))
    assert len(frame) == 10 and frame["example_id"].is_unique
    found = scores_of(frame)
    # Precision 8/10, recall 1: F1 = 16/18. No relation is ever found.
    assert found["no_relation_f1"] == pytest.approx(100 * 16 / 18)
    assert found["tacred_micro_f1"] == 0.0 and found["accuracy"] == pytest.approx(80.0)


def test_limits_choose_some_and_bad_counts_are_refused():
    assert len(made(no_relation=8, a_relation=2).prompts("test", 4)) == 4
    with pytest.raises(ValueError, match="at least two labels"):
        made(no_relation=8)
    with pytest.raises(ValueError, match="at least 1 example"):
        made(no_relation=8, a_relation=0)
    with pytest.raises(ValueError, match="none_label"):
        made(related=8, a_relation=1)
