"""Which rows no seed changes: by what their runs read, never by how many seeds they happen to have."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from sweeps.execution.ledger import Ledger
from sweeps.inference.variation import deterministic_rows
from sweeps.planning.definition import parse
from sweeps.planning.plan import Planner

SMOKE = ["data=samples", "model=tiny_generator", "logger=none", "data.train_limit=32", "evaluation.limit=40"]


@dataclass
class Made:
    """One row of a made-up sweep, and which of its weights its run read."""

    overrides: dict[str, object]
    base: list[str]
    own_seed: bool = True
    column: str = "accuracy"
    stages: str = "all"  # "all" that the plan names, "bases" alone, "none", or "retriever"


def answered(made: Made, outputs) -> bool:
    raw = {
        "paper": "p",
        "title": "t",
        "question": "q",
        "base": made.base,
        "seeds": [0],
        "grid": [{"row": "row", "overrides": made.overrides, **({"seeds": [0]} if made.own_seed else {})}],
        "scales": {"tiny": {}},
        "table": {"columns": [made.column]},
    }
    definition = parse("p/t", raw)
    cells = Planner(lenient=True).sweep(definition, "tiny")
    (cell,) = cells
    needs = {"all": cell.needs, "bases": [name for name in cell.needs if name != cell.training]}.get(made.stages, [])
    stages = [f"training/{name}" for name in needs] + ["neighbours/abc"]
    stages += ["trained_retriever/abc"] if made.stages == "retriever" else []
    folder = outputs / "runs" / cell.signature
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"stages": stages} if made.stages != "unknown" else {}))
    request = SimpleNamespace(scale="tiny", seeds=None)
    selection = SimpleNamespace(definition=definition, request=request, cells=cells, ledger=Ledger(outputs), drifted={})
    return deterministic_rows(selection) == ["row"]


POLICIES = ["experiment=instruction_policies", "logger=none"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Made({"method": "constant", "base": "none"}, SMOKE, stages="none"), True),
        # It fits while it predicts, the same whatever the seed: no stage of trained weights.
        (Made({"method": "linear_svm", "base": "none"}, SMOKE, stages="none"), True),
        (Made({"method": "re", "method.tune": False, "base": "re/samples"}, SMOKE, stages="bases"), True),
        (Made({"method": "constant", "base": "none"}, SMOKE, own_seed=False, stages="none"), False),
        (Made({"method": "re", "base": "none"}, SMOKE), False),
        (Made({"method": "re", "base": "re/samples"}, SMOKE), False),
        (Made({"method": "encoder_head", "base": "none"}, SMOKE), False),
        # A base that the cell's seed trains, and one that is the same for all seeds.
        (Made({"base": "implicit_reward/policy_sft"}, POLICIES, column="answer_contained", stages="bases"), False),
        (Made({"method": "re", "method.tune": False, "base": "re/samples"}, SMOKE, stages="unknown"), False),
        (
            Made(
                {"method": "neighbour_label", "base": "none", "retriever": "trained", "prompt": "labelled"},
                SMOKE,
                stages="retriever",
            ),
            False,
        ),
    ],
    ids=[
        "constant",
        "svm",
        "zero-shot",
        "seed of the whole sweep",
        "trained",
        "trained on a base",
        "head",
        "seeded base",
        "no record",
        "trained retriever",
    ],
)
def test_a_row_is_deterministic_where_the_sweep_says_so_and_no_training_had_its_seed(made, expected, tmp_path):
    assert answered(made, tmp_path) == expected
