import pytest

from sweeps import definition
from sweeps.errors import UserError

MINIMAL = {
    "paper": "re",
    "title": "t",
    "question": "q",
    "seeds": [0, 1],
    "grid": [
        {"row": "a", "overrides": {"method": "re"}},
        {"row": "k = {prompt.k}, {retriever}", "overrides": {"prompt.k": [1, 3], "retriever": ["bm25", "sbert"]}},
        {"row": "constant", "overrides": {"method": "constant"}, "seeds": [0]},
    ],
    "table": {"columns": ["macro_f1"]},
    "scales": {"smoke": {"seeds": [7], "base": ["data=samples"], "leave_out": ["a"]}},
}


def make(**changes):
    return definition.parse("re/x", {**MINIMAL, **changes})


def test_union_of_products():
    points = make().points("tiny")
    assert len(points) == 2 + 4 * 2 + 1
    assert ("k = 3, sbert", ("prompt.k=3", "retriever=sbert"), 1) in points
    assert [row for row, _, _ in points][-1] == "constant"


def test_scale_changes_base_seeds_and_arms_but_not_a_deterministic_arm():
    points = make().points("smoke")
    assert {seed for row, _, seed in points if row != "constant"} == {7}
    assert ("constant", ("data=samples", "method=constant"), 0) in points
    assert "a" not in {row for row, _, _ in points}


def test_asked_for_seeds_win_over_the_definition():
    assert {seed for row, _, seed in make().points("tiny", [3, 4]) if row == "a"} == {3, 4}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grids": []}, "did you mean grid"),
        ({"seeds": 3}, "list of whole numbers"),
        ({"scales": {"tinny": {}}}, "did you mean tiny"),
        ({"published": [{"row": "konstant", "column": "macro_f1", "value": 1}]}, "did you mean constant"),
        ({"published": [{"row": "a", "column": "macro-f1", "value": 1}]}, "did you mean macro_f1"),
        ({"claims": [{"left": "a", "right": "k = 9, sbert", "column": "macro_f1"}]}, "unknown row"),
        ({"notes": ["plain", {"a colon makes": "a mapping"}]}, "where a text is wanted"),
        ({"question": None}, "where a text is wanted"),
        ({"grid": [{"row": "a"}]}, "lacks the entry 'overrides'"),
    ],
)
def test_faults_are_named(change, said):
    with pytest.raises(UserError, match=said):
        make(**change)


def test_unknown_sweep_names_near_ones():
    with pytest.raises(UserError, match="re/main"):
        definition.load("re/mian")
