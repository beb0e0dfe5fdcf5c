"""The fault of the released evaluation on an example small enough to count, and what a constant scores."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from data.relations.rag4re_metric import FAMILIES, comparison, constant_f1, released_micro_f1, without_prefix
from data.scoring.registry import all_scores, scores_of

SCORES = all_scores()

ROOT = Path(__file__).parents[3]
LABELS = ("no_relation", "per:title", "org:founded", "per:parents", "org:parents")

# Ten examples, of which four have no relation. The model finds four of the six relations, takes a person's parents for
# an organisation's once, misses one relation, and cries wolf once.
GOLD = ["no_relation"] * 4 + ["per:title", "per:title", "org:founded", "org:founded", "per:parents", "per:title"]
GOOD = ["no_relation"] * 3 + ["per:title", "per:title", "per:title", "org:founded", "org:founded", "org:parents"]
GOOD += ["no_relation"]
CONSTANT = ["no_relation"] * 10


def frame(predictions):
    return pd.DataFrame({"gold": GOLD, "prediction": predictions})


def sklearns(predictions):
    """The release's own call: prefixes stripped from both columns, full labels asked for."""
    bare = [[without_prefix(label) for label in column] for column in (GOLD, predictions)]
    return f1_score(*bare, labels=list(LABELS), average="micro", zero_division=0)


def test_prefixes_are_stripped_from_answers_only():
    assert [without_prefix(label) for label in LABELS] == ["no_relation", "title", "founded", "parents", "parents"]
    # no_relation: 3 right, predicted 4 times, gold 4: F1 = 6/8. Nothing else can be met.
    assert released_micro_f1(GOLD, GOOD, LABELS) == pytest.approx(6 / 8)
    # Always no_relation: 4 right, predicted 10 times, gold 4: 8/14. And who finds all relations, but never says
    # no_relation, scores nothing at all.
    assert released_micro_f1(GOLD, CONSTANT, LABELS) == pytest.approx(8 / 14)
    assert released_micro_f1(GOLD, [label if label != "no_relation" else "per:title" for label in GOLD], LABELS) == 0.0


def test_the_official_score_of_the_same_answers():
    # Relations: 4 right (two titles, two foundings), 6 guessed, 6 in gold: 4/6. The constant finds none.
    assert scores_of(frame(GOOD))["tacred_micro_f1"] == pytest.approx(100 * 4 / 6)
    assert scores_of(frame(CONSTANT))["tacred_micro_f1"] == 0.0


def test_parents_of_a_person_pass_for_those_of_an_organisation_where_labels_are_stripped_too():
    # Stripping everywhere would at least score relations, but forgive the wrong prefix: 5 instead of 4 right.
    bare = [[without_prefix(label) for label in column] for column in (GOLD, GOOD)]
    kept = sorted({without_prefix(label) for label in LABELS} - {"no_relation"})
    assert f1_score(*bare, labels=kept, average="micro") == pytest.approx(5 / 6)


ANSWERS = st.lists(st.sampled_from((*LABELS, "")), min_size=10, max_size=10)


@given(ANSWERS)
def test_the_fault_is_the_f1_of_no_relation_whatever_is_answered(predictions):
    found = released_micro_f1(GOLD, predictions, LABELS)
    assert found == pytest.approx(sklearns(predictions), abs=1e-12)
    assert found == pytest.approx(SCORES["no_relation_f1"].of(frame(predictions)), abs=1e-12)


def test_an_invalid_answer_is_a_guess_to_the_official_scorer():
    # 4 right, 7 guessed (the invalid one too), 6 in gold: 8/13; were it left out, 8/12.
    assert SCORES["tacred_micro_f1"].of(frame(["", *GOOD[1:]])) == pytest.approx(8 / 13)


def test_the_constants_by_hand():
    assert [round(100 * constant_f1(one.total, one.none), 2) for one in FAMILIES] == [87.99, 88.80, 73.34]
    assert constant_f1(10, 4) == pytest.approx(8 / 14)
    for total, none in ((10, 0), (10, 11)):
        with pytest.raises(ValueError, match=f"{none} of {total}"):
            constant_f1(total, none)


def test_no_published_figure_reaches_its_constant():
    assert all(one.best < 100 * constant_f1(one.total, one.none) for one in FAMILIES)


def test_the_arithmetic_is_printed_without_torch_and_stands_in_the_table_and_the_page():
    code = "import runpy, sys; runpy.run_module('data.relations.rag4re_metric', run_name='__main__')\n"
    code += "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.splitlines() == comparison()
    notes = yaml.safe_load((ROOT / "sweeps/papers/re/no_relation.yaml").read_text())["notes"]
    page = " ".join((ROOT / "docs/re.md").read_text().split())
    for line in comparison():
        assert line in notes
    for one in FAMILIES:
        assert f"{100 * constant_f1(one.total, one.none):.2f}" in page


@pytest.mark.parametrize("one", FAMILIES, ids=lambda one: one.name)
def test_the_counted_data_configs_have_the_same_counts(one, relation_config):
    settings = relation_config(f"data={one.name.lower().replace('-', '')}_counts")
    assert sum(settings["counts"].values()) == one.total and settings["counts"]["no_relation"] == one.none
