"""A setting that nothing reads is refused in one line that says where it would be read."""

import pytest

from sweeps import cli
from sweeps.errors import UserError
from sweeps.planning import definition, plan
from sweeps.planning.reach import Reach

PLANNER = plan.Planner(lenient=True)
SMALL = ("data=countdown", "model=tiny_policy", "evaluation=policy", "base=amft/countdown_warmup")


def refused(*overrides):
    with pytest.raises(UserError) as error:
        PLANNER.by_hand([overrides])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("method", ["grpo", "amft", "fixed_mu", "luffy", "sft_then_rl", "hpt"])
@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "schedule", "betas"])
def test_the_models_optimiser_beside_the_methods_own_is_refused(method, key):
    value = {"schedule": "cosine", "betas": "[0.9,0.9]"}.get(key, "0.001")
    said = refused(*SMALL, f"method={method}", f"model.optimiser.{key}={value}")
    assert f"method={method} has an optimiser of its own; write method.optimiser.{key}=..." in said


def test_what_the_methods_own_optimiser_takes_is_taken_and_so_is_the_models_where_the_method_has_none():
    taken = PLANNER.by_hand([(*SMALL, "method=amft", "method.optimiser.learning_rate=0.5")])[0]
    assert taken.config["method"]["optimiser"]["learning_rate"] == 0.5
    own = ("data=facts", "evaluation=rag", "model=tiny_reader", "method=rag_sft")
    assert "method.optimiser.learning_rate" in refused(*own, "model.optimiser.learning_rate=0.5")
    (cell,) = PLANNER.by_hand([(*own, "method.optimiser=null", "model.optimiser.learning_rate=0.5")])
    assert cell.config["method"]["model"]["optimiser"]["learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("data=samples", "method=constant", "model.width=8"), "unknown key"),
        (("data=samples", "method=constant", "model.dropout=0.5"), "neither method=constant nor data=samples refers"),
        (("data=samples", "method=linear_svm", "model=tiny_generator"), "nothing reads model=tiny_generator"),
        ((*SMALL, "method=grpo", "prompt=labelled"), "nothing reads prompt=labelled"),
        ((*SMALL, "method=grpo", "retriever=bm25"), "nothing reads retriever=bm25"),
        ((*SMALL, "method=grpo", "prompt.k=3"), "nothing reads prompt.k=3"),
        (("data=samples", "method=neighbour_label", "retriever=sbert", "+foo=1"), "nothing reads +foo=1"),
    ],
)
def test_a_setting_of_a_section_that_nothing_refers_to_is_refused(overrides, said):
    assert said in refused(*overrides)


def test_where_a_setting_of_that_name_is_read_is_said():
    said = refused("data=samples", "method=constant", "model.cost.predict_seconds=3")
    assert "did you mean method.cost.predict_seconds?" in said


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=samples", "method=constant", "engine.workers=1", "logger=none", "paths.outputs=x", "trainer.devices=1"),
        ("data=samples", "method=re", "model=tiny_generator", "prompt/style=paper", "prompt.budget=99", "base=none"),
        ("data=samples", "method=neighbour_label", "retriever=bm25", "prompt=labelled", "prompt.k=3", "base=none"),
        (*SMALL, "method=grpo", "base.data.batch_size=4", "base.base.trainer.max_epochs=1", "model.width=16"),
        (*SMALL, "method=grpo", "evaluation.samples=2", "evaluation.max_tokens=4", "method.rollout_tokens=4"),
        ("experiment=skills_smoke", "data=skill_pairs", "evaluation=text", "base=infifpo/skills_sft", "method=infifpo",
         "model=skills_characters", "skills.sft_epochs=1", "model.optimiser.learning_rate=0.1"),
        ("experiment=re_smoke", "scale=smoke", "seed=3", "threads=1"),
        ("data=facts", "evaluation=rag", "model=tiny_reader", "method=rag_prompting", "base=longrag/reader",
         "retriever@evaluation.retriever=facts_weak", "data/order@evaluation.order=reversed", "evaluation.k=2"),
    ],
)  # fmt: skip
def test_a_setting_that_something_reads_is_taken(overrides):
    assert len(PLANNER.by_hand([overrides])) == 1


def test_of_several_cells_one_that_reads_a_setting_is_enough():
    base = ("data=samples", "base=none", "model=tiny_generator")
    assert len(PLANNER.by_hand([(*base, f"method={method}") for method in ("constant", "re")])) == 2
    with pytest.raises(UserError, match="nothing reads model=tiny_generator"):
        PLANNER.by_hand([(*base, f"method={method}") for method in ("constant", "linear_svm")])


def test_a_sweep_refuses_what_none_of_its_cells_reads(tmp_path, capsys):
    for override, said in (
        ("model.optimiser.learning_rate=0.1", "write method.optimiser.learning_rate=..."),
        ("prompt.k=3", "nothing reads prompt.k=3"),
    ):
        assert cli.main(["plan", "sweep=amft/main", "scale=smoke", override, f"paths.outputs={tmp_path}"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and said in lines[0]
    # Pairs are learnt with the model's optimiser.
    arguments = ["plan", "sweep=infifpo/main", "scale=smoke", "model.optimiser.learning_rate=0.1"]
    assert cli.main([*arguments, f"paths.outputs={tmp_path}"]) == 0


def test_a_sweep_file_whose_row_sets_what_nothing_reads_is_refused():
    raw = {
        "paper": "re", "title": "t", "question": "q", "seeds": [0], "scales": {"smoke": {"base": ["data=samples"]}},
        "grid": [{"row": "a", "overrides": {"method": "constant", "base": "none", "model.dropout": 0.5}}],
        "table": {"columns": ["accuracy"]},
    }  # fmt: skip
    with pytest.raises(UserError, match=r"sweep re/x, row 'a': nothing reads model.dropout=0.5"):
        PLANNER.sweep(definition.parse("re/x", raw), "smoke")


def test_a_way_through_references_is_followed_and_resolvers_are_left_alone():
    config = {
        "data": {"a": "${..x.y}"}, "x": {"y": "${z.w}", "n": 1}, "z": {"w": {"v": 1}, "u": 2},
        "method": {"m": "${model}"}, "model": {"k": ["${q}"]}, "q": 1, "base": {"data": {"b": "${data.a}"}}, "p": {},
    }  # fmt: skip
    reach = Reach(config)
    assert all(reach.reads(tuple(path.split("."))) for path in ("x.y", "z.w.v", "model", "q", "base", "x", "z"))
    assert not any(reach.reads(tuple(path.split("."))) for path in ("x.n", "z.u", "p"))
    assert Reach({**config, "data": {"a": "${oc.env:HOME}"}}).reads(("p",))
