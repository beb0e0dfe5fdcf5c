"""Rows of preference files: every format gives the same pair, every fault is named, scores tell their tokens."""

import pickle

import pytest

from data.preferences.pair_rows import BadRowError, preference_row
from data.records.preferences import RecordedScore
from data.records.texts import PreferencePair

PAIR = PreferencePair("r", "What is two and two?", "It is four.", "It is five.")


def said(role, content):
    return {"role": role, "content": content}


ASKED, RIGHT, WRONG = said("user", PAIR.prompt), said("assistant", PAIR.chosen), said("assistant", PAIR.rejected)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": PAIR.prompt, "chosen": PAIR.chosen, "rejected": PAIR.rejected},
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": [ASKED], "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]},
        {"prompt": None, "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]},
        {"prompt": PAIR.prompt, "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]},
        {"prompt": PAIR.prompt, "chosen": [RIGHT], "rejected": [WRONG]},
    ],
    ids=["standard", "conversational", "prompt twice", "implicit", "UltraFeedback", "text prompt"],
)
def test_every_format_gives_the_same_pair(row):
    found = preference_row(row, "r")
    assert found.pair == PAIR and found.reference is None and found.sources == () and not found.tied


def test_a_text_without_a_prompt_is_cut_where_the_responses_part_but_never_inside_a_word():
    row = {"chosen": "Human: hi\n\nAssistant: blue sky", "rejected": "Human: hi\n\nAssistant: black sky"}
    assert preference_row(row, "r").pair == PreferencePair("r", "Human: hi\n\nAssistant: ", "blue sky", "black sky")


def test_a_prompt_of_several_messages_keeps_them_for_models_that_have_turns():
    head = [said("user", "a"), said("assistant", "b"), said("user", "c")]
    row = {"chosen": [*head, said("assistant", "d")], "rejected": [*head, said("assistant", "e")]}
    prompt = preference_row(row, "r").pair.prompt
    assert prompt.messages == (("user", "a"), ("assistant", "b"), ("user", "c"))
    again = pickle.loads(pickle.dumps(prompt))
    assert again == prompt == "user: a\nassistant: b\nuser: c\nassistant: " and again.messages == prompt.messages
    one = preference_row({"chosen": [head[0], head[1]], "rejected": [head[0], said("assistant", "e")]}, "r")
    assert type(one.pair.prompt) is str


def test_a_prompt_of_several_messages_is_set_turn_by_turn_and_ends_where_the_reply_begins():
    system = said("system", "Be {brief}.")
    row = {"prompt": [system, ASKED], "chosen": [RIGHT], "rejected": [WRONG]}
    assert preference_row(row, "r").pair.prompt == f"system: Be {{brief}}.\nuser: {PAIR.prompt}\nassistant: "
    assert preference_row(row, "r", turn="<{role}>{content}</>").pair.prompt.endswith("</><assistant>")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"chosen": None}, "chosen is missing"),
        ({"rejected": 3}, "one of chosen and rejected is text"),
        ({"chosen": [], "rejected": [WRONG]}, "chosen must be a list"),
        ({"chosen": [ASKED], "rejected": [ASKED]}, "ends with a message of 'user'"),
        ({"chosen": [said("assistant", None)], "rejected": [WRONG]}, "message 1 of chosen needs role and content"),
        ({"chosen": [ASKED, RIGHT], "rejected": [WRONG]}, "differ before their last message"),
        ({"prompt": "Another?", "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]}, "which of the two"),
        ({"prompt": [said("user", "?")], "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]}, "one reply is wanted"),
        ({"prompt": [ASKED]}, "responses are text and prompt is"),
        ({"prompt": None}, "have no beginning in common"),
        ({"prompt": None, "chosen": [RIGHT], "rejected": [WRONG]}, "prompt is missing: neither"),
        ({"score_chosen": "good"}, "score_chosen must be a number, got text: 'good'"),
        ({"ref_chosen_logps": -3.0}, "ref_rejected_logps is missing"),
        ({"ref_chosen_logps": -3.0, "ref_rejected_logps": float("nan")}, "must be finite"),
        ({"ref_chosen_logps": 3.0, "ref_rejected_logps": -3.0}, "at most 0"),
        ({"ref_chosen_logps": -3.0, "ref_rejected_logps": -3.0, "ref_mean_chosen_logps": -2.0}, "1.50 tokens"),
        ({"fuse_chosen_logps": [-3.0]}, "fuse_mean_chosen_logps must be a list"),
    ],
)
def test_a_bad_row_is_refused_with_its_fault(change, wanted):
    row = {"prompt": PAIR.prompt, "chosen": "Four it is.", "rejected": "It is five.", **change}
    with pytest.raises(BadRowError, match=wanted):
        preference_row(row, "r")


def test_lists_over_sources_must_be_of_one_length():
    row = {**dict(zip(("prompt", "chosen", "rejected"), PAIR[1:4], strict=True)), **released()}
    row["fuse_rejected_logps"] = [-12.0]
    with pytest.raises(BadRowError, match="fuse_rejected_logps has 1 sources, fuse_chosen_logps has 2"):
        preference_row(row, "r")


def released():
    return {
        "ref_chosen_logps": -10.0,
        "ref_mean_chosen_logps": -2.0,
        "ref_rejected_logps": -8.0,
        "ref_mean_rejected_logps": -4.0,
        "fuse_chosen_logps": [-9.0, -6.0],
        "fuse_mean_chosen_logps": [-3.0, -1.0],
        "fuse_rejected_logps": [-12.0, -7.0],
        "fuse_mean_rejected_logps": [-2.0, -7.0],
    }


def test_sums_and_means_of_the_released_rows_tell_the_tokens():
    found = preference_row({"chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG], **released()}, "r")
    assert found.reference == (RecordedScore(-10.0, 5), RecordedScore(-8.0, 2))
    assert found.sources == (
        (RecordedScore(-9.0, 3), RecordedScore(-12.0, 6)),
        (RecordedScore(-6.0, 6), RecordedScore(-7.0, 1)),
    )


def test_a_printed_mean_may_be_rounded():
    row = {"ref_chosen_logps": -283.4, "ref_mean_chosen_logps": -1.001, "ref_rejected_logps": -8.0}
    found = preference_row({"chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG], **row}, "r")
    assert found.reference == (RecordedScore(-283.4, 283), RecordedScore(-8.0, None))


def test_a_row_that_scores_both_alike_is_a_tie():
    row = {"prompt": "a b", "chosen": "c", "rejected": "d", "score_chosen": 7.5, "score_rejected": 7.5}
    assert preference_row(row, "r").tied
    assert not preference_row({**row, "score_rejected": 7.0}, "r").tied
