"""What the sweeps of the long-context RAG paper promise: controls, equal steps, weights shared between evaluations."""

import pytest

from sweeps.planning import definition, plan

PLANNER = plan.Planner()
NAMES = [
    "curve",
    "reorder",
    "hard_negatives",
    "main",
    "data_mix",
    "retriever",
    "context_length",
    "data_scale",
    "general_ability",
]


def cells(name, scale="tiny"):
    return PLANNER.sweep(definition.load(f"longrag/{name}"), scale, seeds=(0,))


@pytest.mark.parametrize("name", [*NAMES, "questions"])
def test_every_table_has_five_seeds_and_claims_with_a_source(name):
    loaded = definition.load(f"longrag/{name}")
    assert loaded.seeds == (0, 1, 2, 3, 4) and loaded.claims
    assert len({claim["id"] for claim in loaded.claims}) == len(loaded.claims)
    assert all(claim["published"].startswith(("arXiv", "ours")) for claim in loaded.claims)


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_of_a_table_start_from_one_reader(name):
    made = cells(name)
    assert len({cell.needs[0] for cell in made}) == 1
    assert len({cell.needs[0] for cell in PLANNER.sweep(definition.load(f"longrag/{name}"), "tiny", seeds=(0, 1))}) == 2


def test_passages_order_and_retriever_of_the_test_train_nothing_anew():
    trained = {}
    for cell in cells("main"):
        arm = cell.row.partition(",")[0]
        trained.setdefault(arm, set()).add(cell.training)
    assert all(len(trained[arm]) == 1 for arm in ("Implicit", "Direct", "Reasoning", "Length only", "Length matched"))
    assert (
        len(set.union(*(trained[arm] for arm in ("Implicit", "Direct", "Reasoning", "Length only", "Length matched"))))
        == 5
    )


def test_arms_take_equal_steps_over_equal_numbers_of_passages():
    plans = {cell.row.partition(",")[0]: cell.config for cell in cells("main")}
    arms = [plans[arm] for arm in ("Implicit", "Reasoning", "Length only", "Length matched")]
    shared = ("k", "k_least", "questions")
    assert len({tuple(arm["data"]["train"][key] for key in shared) for arm in arms}) == 1
    arms.append(plans["Direct"])
    assert len({(arm["data"]["train"]["questions"], arm["data"]["batch_size"]) for arm in arms}) == 1
    assert {arm["trainer"]["max_epochs"] for arm in arms} == {1}
    assert plans["Direct"]["data"]["train"]["k"] == 0
    assert plans["Length only"]["data"]["train"]["negatives"] == {"random": 1.0}


def test_the_data_scale_compares_equal_steps_and_plans_its_cost_from_its_questions():
    made = {cell.row: cell for cell in cells("data_scale")}
    steps = {
        row: cell.config["data"]["train"]["questions"] * cell.config["trainer"]["max_epochs"]
        for row, cell in made.items()
        if row != "Prompting"
    }
    equal = ["600 questions, eight passes", "1200 questions, four passes", "2400 questions, two passes"]
    assert {steps[row] for row in [*equal, "4800 questions, one pass"]} == {4800}
    assert made["9600 questions, one pass"].config["data"]["cost"]["rows"] == 9600
    weights = {cell.training for cell in cells("general_ability")} - {cell.training for cell in cells("main")}
    assert not weights  # nothing is trained for it that longrag/main does not train


def test_the_matched_control_differs_from_the_implicit_arm_by_its_passages_alone():
    plans = {cell.row.partition(",")[0]: cell.config["data"]["train"] for cell in cells("main")}
    implicit, matched = plans["Implicit"], plans["Length matched"]
    assert {key for key in implicit if implicit[key] != matched[key]} == {"substitutes"}
    assert (implicit["substitutes"], matched["substitutes"]) == (None, {"random": 1.0})
    shared = {cell.training for cell in cells("main")} & {cell.training for cell in cells("hard_negatives")}
    assert len(shared) == 3  # the base reader and both arms are trained once for both tables


def test_the_mandatory_controls_are_there():
    rows = {name: definition.load(f"longrag/{name}").rows("tiny") for name in NAMES}
    for row in ("Gold balanced and random ones, k=40", "facts_strong, gold removed, k=10", "No passages"):
        assert row in rows["curve"]
    assert "facts_strong, reversed, k=40" in rows["reorder"]
    assert {"Length only, facts_strong, k=40", "Direct, no passages"} <= set(rows["main"])
    for kind in ("random", "oracle_facts_strong", "shared name"):
        assert {f"Gold {place}, {kind}, k=20" for place in ("first", "balanced")} <= set(rows["hard_negatives"])
