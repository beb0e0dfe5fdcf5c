from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.records.relations import RelationExample
from data.relations.formats import SEMEVAL_LABELS
from data.relations.prompts import MAX_NEIGHBOURS, PromptTemplate

CONF = Path(__file__).parents[3] / "conf/prompt"
STYLES = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "style").glob("*.yaml")}
ARMS = ("simple", "definition", "unlabelled", "labelled")


def example(index, head=None, label="Other"):
    head = head or f"thing{index}"
    return RelationExample(str(index), f"The <e1>{head}</e1> is in the <e2>box</e2>.", head, "box", label)


QUERY = example(1, head="engine", label="Component-Whole(e1,e2)")
NEAR = [example(10 + index, label=SEMEVAL_LABELS[index]) for index in range(12)]


def template(arm, style_name, **changes):
    settings = yaml.safe_load((CONF / f"{arm}.yaml").read_text())
    assert settings.pop("_target_") == "data.relations.prompts.PromptTemplate"
    assert settings.pop("defaults") == [{"style": "compact"}, "_self_"]
    return PromptTemplate(**{**settings, "style": STYLES[style_name], **changes})


def lines(arm, style, **changes):
    return template(arm, style, **changes).render(QUERY, SEMEVAL_LABELS, NEAR).prompt.text.split("\n")


def test_all_arms_and_both_styles_are_there():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(ARMS)
    assert set(STYLES) == {"compact", "paper"}


@pytest.mark.parametrize("style", sorted(STYLES))
def test_each_arm_changes_one_thing(style):
    simple, definition, unlabelled, labelled = (lines(arm, style) for arm in ARMS)
    added = [line for line in definition if line not in simple]
    assert len(added) == 1 and [line for line in definition if line != added[0]] == simple
    shown = [line for line in unlabelled if line not in definition]
    assert len(shown) == 1 and NEAR[0].text in shown[0] and NEAR[0].label not in shown[0]
    assert [line for line in unlabelled if line != shown[0]] == definition
    changed = [(old, new) for old, new in zip(unlabelled, labelled, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][1].startswith(changed[0][0]) and NEAR[0].label in changed[0][1]


def test_every_arm_of_the_paper_style_lists_the_same_whole_inventory():
    # The release listed 18 labels in one arm and 19 in the other.
    listed = {line for arm in ARMS for line in lines(arm, "paper") if line.startswith("Relation types:")}
    assert listed == {"Relation types: " + ", ".join(SEMEVAL_LABELS)}


@pytest.mark.parametrize("arm", ARMS)
def test_no_arm_of_the_compact_style_names_a_label_of_its_own(arm):
    text = template(arm, "compact").render(QUERY, SEMEVAL_LABELS, NEAR).prompt.text
    assert text.startswith(QUERY.text)
    assert [label for label in SEMEVAL_LABELS if label in text] == ([NEAR[0].label] if arm == "labelled" else [])


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("arm", ARMS)
def test_the_answer_is_never_in_the_prompt_unless_a_neighbour_or_the_inventory_gives_it(arm, style):
    made = template(arm, style).render(QUERY, ["Other", "A"], NEAR).prompt
    assert QUERY.label not in made.text and made.target == QUERY.label and made.example_id == "1"


@given(st.integers(0, MAX_NEIGHBOURS), st.integers(0, 12))
def test_k_neighbours_in_order_as_far_as_there_are_any(k, available):
    rendered = template("labelled", "compact", k=k).render(QUERY, SEMEVAL_LABELS, NEAR[:available])
    assert rendered.prompt.neighbours == tuple(item.id for item in NEAR[: min(k, available)])
    assert rendered.dropped == 0
    places = [rendered.prompt.text.index(item.text) for item in NEAR[: min(k, available)]]
    assert places == sorted(places)


@given(st.integers(1, 120), st.sampled_from(sorted(STYLES)))
def test_a_budget_drops_whole_neighbours_from_the_last_and_never_the_query(budget, style):
    def words(text):
        return len(text.split())

    full = template("labelled", style, k=5).render(QUERY, SEMEVAL_LABELS, NEAR)
    cut = template("labelled", style, k=5, budget=budget).render(QUERY, SEMEVAL_LABELS, NEAR, words)
    kept = len(cut.prompt.neighbours)
    assert cut.prompt.neighbours == full.prompt.neighbours[:kept] and cut.dropped == 5 - kept
    assert QUERY.text in cut.prompt.text
    assert words(cut.prompt.text) <= budget or kept == 0
    if kept < 5:
        one_more = template("labelled", style, k=kept + 1).render(QUERY, SEMEVAL_LABELS, NEAR).prompt.text
        assert words(one_more) > budget


def test_braces_in_a_sentence_are_left_alone():
    odd = example(3, head="{set} {0}")
    assert odd.text in template("simple", "paper").render(odd, SEMEVAL_LABELS).prompt.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": 11}, "prompt.k must be 0 to 10"),
        ({"k": -1}, "prompt.k must be 0 to 10"),
        ({"neighbours": "some"}, "none, unlabelled, labelled"),
        ({"neighbours": "none"}, "shows no neighbours"),
        ({"budget": 0}, "budget"),
        ({"style": {"order": ["sentence", "mood"], "separator": ""}}, "order"),
        ({"style": {"order": ["head"], "separator": "", "head": ""}}, "sentence"),
        ({"style": {"order": ["sentence", "neighbours"], "separator": ""}}, "lacks the texts of"),
        ({"style": {"order": ["sentence"], "separator": "", "sentence": ""}}, "lacks 'definition'"),
    ],
)
def test_bad_settings_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        template("labelled", "compact", **changes)


def test_a_budget_needs_a_counter_and_a_text_its_fields():
    with pytest.raises(ValueError, match="count_tokens"):
        template("labelled", "compact", budget=10).render(QUERY, SEMEVAL_LABELS, NEAR)
    style = {**STYLES["compact"], "sentence": "{sentense}"}
    with pytest.raises(ValueError, match=r"sentense.*sentence"):
        template("simple", "compact", style=style).render(QUERY, SEMEVAL_LABELS)
