import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.relations.formats import SEMEVAL_LABELS
from data.relations.label_refinement import label_of

TACRED = ("no_relation", "org:founded", "org:founded_by", "org:parents", "per:parents", "per:title")


@given(st.sampled_from(SEMEVAL_LABELS), st.sampled_from(["", " ", ".", "\n", "("]), st.booleans())
def test_a_label_alone_is_itself(label, around, lower):
    text = f"{around}{label.lower() if lower else label}{around.strip()[:1]}"
    assert label_of(text, SEMEVAL_LABELS) == label


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("", ""),
        ("I cannot tell.", ""),
        ("The relation is Cause-Effect (e2, e1).", "Cause-Effect(e2,e1)"),
        ("Cause-Effect", ""),  # a direction is never guessed
        ("other", "Other"),  # the release lower-cased labels, not predictions
        ("another one", ""),  # a label counts as whole words
        ("Other? No: Entity-Origin(e1,e2)", "Entity-Origin(e1,e2)"),  # longest first
        ("Message-Topic(e2,e1) or Message-Topic(e1,e2)", "Message-Topic(e2,e1)"),  # same length: first in the text
    ],
)
def test_semeval_answers(output, wanted):
    assert label_of(output, SEMEVAL_LABELS) == wanted


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("org:founded_by", "org:founded_by"),  # not the shorter label inside it
        ("It is a title", "per:title"),
        ("relation:title.", "per:title"),
        ("her parents", ""),  # two labels have that suffix: no guess
        ("founded", "org:founded"),
        ("per", ""),
        (":", ""),
    ],
)
def test_suffixes_of_prefixed_labels(output, wanted):
    assert label_of(output, TACRED) == wanted


def test_the_order_of_the_inventory_does_not_matter():
    output = "part of the member of, or follows"
    labels = ["follows", "part of", "member of", "of"]
    answers = {label_of(output, order) for order in (labels, labels[::-1], sorted(labels))}
    assert answers == {"member of"}


def test_spaces_inside_a_label_may_vary_but_must_be_there():
    assert label_of("it is part\n of it", ["part of"]) == "part of"
    assert label_of("it is partof it", ["part of"]) == ""
