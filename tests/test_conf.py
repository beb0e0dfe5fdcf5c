"""Every config composes, every bad one is refused in one line with the nearest names, before anything is built."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sweeps.errors import UserError
from sweeps.planning import definition, plan
from sweeps.preflight import schema
from sweeps.signatures.named_inputs import nodes

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ("scale=smoke", "experiment=re_smoke")
OPTIONS = [(group, name) for group, names in plan.groups().items() for name in names]
WITH_PACKAGE = {
    "data/shared",
    "data/corpus",
    "data/order",
    "data/questions",
    "method/rl",
    "method/shared",
    "model/shared",
    "prompt/style",
    "retriever/shared",
}
"""Groups that are parts of other options: composed wherever those are."""

WITH_WEIGHTS = ("small", "paper")
"""Scales of real weights and real data."""

RAG_METHODS = ("direct_sft", "rag_prompting", "rag_sft", "rag_sft_reasoning")
FACT_SETS = ("facts", "facts_direct", "facts_length", "facts_length_matched", "facts_lessons", "facts_reasoning")

GOES_WITH = {
    ("evaluation", "text"): ("method=sft", "model=tiny_decoder"),
    ("method", "sft"): ("evaluation=text",),
    ("method", "dpo"): ("evaluation=text",),
    ("method", "ipo"): ("evaluation=text",),
    ("method", "ln_dpo"): ("evaluation=text",),
    **{("objective", name): ("evaluation=text", "method=dpo") for group, name in OPTIONS if group == "objective"},
    ("evaluation", "rag"): ("method=rag_sft", "data=facts"),
    ("base", "longrag/reader"): ("method=rag_prompting", "data=facts", "evaluation=rag"),
    **{("method", name): ("evaluation=rag",) for name in RAG_METHODS},
    **{("data", name): ("evaluation=rag", "method=rag_sft") for name in FACT_SETS},
    ("evaluation", "questions"): ("method=rag_sft", "data=real_questions"),
    ("data", "real_questions"): ("evaluation=questions", "method=rag_sft"),
    ("data", "real_questions_reasoning"): ("evaluation=questions", "method=rag_sft_reasoning"),
    ("method", "rag_endpoint"): ("evaluation=questions", "data=real_questions"),
    ("evaluation", "policy"): ("method=grpo", "model=tiny_decoder", "data=countdown"),
    **{
        ("method", name): ("evaluation=policy", "model=tiny_decoder", "data=countdown")
        for name in (
            "amft",
            "chord",
            "cosine_mu",
            "fixed_mu",
            "grpo",
            "hpt",
            "imitation",
            "linear_mu",
            "luffy",
            "relift",
            "replayed_mu",
            "sasr",
            "sft_then_rl",
            "srft",
        )
    },
    **{
        ("base", f"amft/countdown_{name}"): ("evaluation=policy", "model=tiny_decoder", "data=countdown", "method=grpo")
        for name in ("pretrained", "warmup", "amft")
    },
    **{
        ("base", f"amft/{world}_{name}"): ("evaluation=policy", "model=tiny_decoder", f"data={world}", "method=grpo")
        for world in ("general_points", "navigation", "word_problems")
        for name in ("pretrained", "warmup")
    },
    ("base", "amft/math_warmup"): ("evaluation=policy", "model=tiny_qwen2", "data=math_files", "method=grpo"),
    ("method", "infifpo"): ("evaluation=text", "experiment=skills_smoke"),
    **{
        (group, name): ("evaluation=text", "experiment=skills_smoke", "method=sft")
        for group, name in OPTIONS
        if group in ("base", "data", "model") and "skill" in name
    },
    **{("method", name): ("evaluation=text",) for name in ("f_sft", "sft_kl", "neftune", "policy_probe")},
    ("method", "value_probe"): ("evaluation=text",),
    ("base", "infifpo/preference_sft"): ("experiment=preferences",),
    ("base", "infifpo/preference_policy"): ("experiment=preferences",),
    ("base", "infifpo/hub_source"): ("experiment=preferences",),
    ("base", "infifpo/sampled_sft"): ("experiment=preferences_sampled",),
    ("method", "lm_eval"): ("evaluation=text", "data=lm_eval_gsm8k"),
    **{
        ("base", f"implicit_reward/policy_{name}"): ("experiment=instruction_policies",)
        for name in ("base", "sft", "dpo")
    },
    **{
        ("data", name): ("experiment=preference_pairs",)
        for name in ("alpaca_demo", "llmbar", "pandalm", "persona", "qa_feedback")
    },
    **{("base", f"implicit_reward/pairs_{name}"): ("experiment=preference_pairs",) for name in ("sft", "dpo")},
    **{("base", f"implicit_reward/chat_{name}"): ("experiment=chat_policies",) for name in ("sft", "dpo")},
}
"""What an option needs beside it."""

PLANNER = plan.Planner()
COMPOSER = plan.Composer()
"""One of each for all tests: they keep what compositions have in common."""


def config_of(*overrides):
    return PLANNER.cell(overrides).config


def test_number_of_config_files():
    counts = {group: len(names) for group, names in plan.groups().items()}
    assert sum(counts.values()) == len(list((ROOT / "conf").rglob("*.yaml"))) - 1
    assert counts["data"] >= 6 and counts["retriever"] >= 10 and counts["method"] >= 5 and counts["prompt"] >= 4


@pytest.mark.parametrize(("group", "name"), [option for option in OPTIONS if option[0] not in WITH_PACKAGE])
def test_every_option_composes_and_resolves(group, name):
    # Not signed: a signature reads the weights, and those of a hub are not on every machine.
    config, blanked = plan.resolve(COMPOSER.compose((*SMOKE, *GOES_WITH.get((group, name), ()), f"{group}={name}")))
    assert config["seed"] == blanked["seed"] == 0


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=re", "seed=7"),
        ("retriever=sbert", "prompt=labelled", "prompt.k=3"),
        ("data=samples", "data.batch_size=4", "data.train_limit=20", "trainer.max_epochs=2"),
        ("base=re/fewrel", "base.seed=3", "evaluation.decoding=free"),
        ("method.tune=false", "evaluation.limit=5"),
        ("method=dpo", "evaluation=text", "model=tiny_decoder"),
        ("method=dpo", "evaluation=text", "model=tiny_decoder", "objective=simpo", "objective.gamma=0.5"),
        ("experiment=preferences", "base=infifpo/preference_policy", "objective=ipo"),
    ],
)
def test_our_composition_equals_hydras(overrides):
    with initialize_config_dir(str(plan.CONF), version_base=None):
        theirs = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert config_of(*overrides) == theirs


@pytest.mark.parametrize("experiment", ["preferences", "preferences_sampled", "preferences_hub_sources"])
@pytest.mark.parametrize(("method", "kind"), [("dpo", "Dpo"), ("ipo", "Ipo"), ("infifpo", "InfiFpo")])
def test_a_typed_method_brings_its_objective_in_every_experiment(experiment, method, kind):
    cell = (f"experiment={experiment}", f"method={method}")
    config, _ = plan.resolve(COMPOSER.compose((*SMOKE, *cell)))
    assert config["objective"]["_target_"].endswith(f".{kind}")
    config, _ = plan.resolve(COMPOSER.compose((*SMOKE, *cell, "objective=simpo")))
    assert config["objective"]["_target_"].endswith(".SimPo")


def test_evaluation_is_blanked_wherever_it_is_referred_to():
    resolved, blanked = plan.resolve(plan.Composer().compose(("evaluation.decoding=free",)))
    assert resolved["method"]["decoding"] == "free"
    assert "free" not in str(blanked) and blanked["method"]["decoding"] == blanked["evaluation"]["decoding"]


def bad_overrides():
    """Some hundred of them: unknown keys, misspelt options, wrong types, values out of range."""
    for group, name in OPTIONS:
        if group not in WITH_PACKAGE:
            yield f"{group}={name}x", name
            yield f"{group[:-1] + '_'}={name}", "did you mean|valid"
    for key in (
        "seeed=1",
        "data.batchsize=4",
        "data.bucket_=true",
        "prompt.kk=3",
        "method.tun=false",
        "model.x.y=1",
        "trainer.max_epoch=3",
        "evaluation.spilt=dev",
        "evaluation.limits=3",
        "logger.wandbb=offline",
        "engine.worker=2",
        "paths.output=x",
        "retrieverr=none",
        "base.data.name=x",
    ):
        yield key, "unknown key|no config group|has no"
    for key, wanted in (
        ("threads=0", "threads"),
        ("threads=two", "threads"),
        ("seed=-1", "seed"),
        ("seed=1.5", "seed"),
        ("data.batch_size=0", "batch_size"),
        ("data.batch_size=many", "batch_size"),
        ("data.train_limit=-3", "train_limit"),
        ("data.none_label=Nothing", "none_label"),
        ("data.labels=[a]", "labels"),
        ("data.reader=tsv", "reader"),
        ("prompt.k=11", "k"),
        ("prompt.k=-1", "k"),
        ("prompt.neighbours=some", "neighbours"),
        ("prompt=7", "7"),
        ("evaluation.split=tset", "did you mean test"),
        ("evaluation.limit=0", "evaluation.limit"),
        ("evaluation.limit=half", "evaluation.limit"),
        ("evaluation.decoding=beam", "decoding"),
        ("trainer.max_epochs=-1", "max_epochs"),
        ("trainer.max_epochs=lots", "max_epochs"),
        ("method.tune=maybe", "tune"),
        ("data=[samples,semeval2010]", "data"),
        ("data.batch_size=", "batch_size"),
        ("seed=1,2", "several values"),
        ("=3", "override"),
        ("seed", "override"),
        ("data.files={train: no/such.jsonl}", "no/such"),
    ):
        yield key, wanted


BAD = list(bad_overrides())


def test_there_are_over_a_hundred_bad_overrides():
    assert len(BAD) > 100


@pytest.mark.parametrize(("override", "said"), BAD, ids=[override for override, _ in BAD])
def test_bad_override_is_refused_in_one_line(override, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"(?i){said}") as caught:
        schema.check(PLANNER.cell((*SMOKE, override)).config)
    assert len(str(caught.value)) < 1200
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sweeps.run", *SMOKE, "retriever=bm52"], "bm25"),
        (["sweeps.run", *SMOKE, "prompt.k=eleven"], "prompt.k"),
        (["sweeps.run", "-m", *SMOKE, "retriever=bm25,bm52"], "bm25"),
        (["sweeps.cli", "sweep", "sweep=re/mian"], "re/main"),
        (["sweeps.cli", "sweep", "sweep=re/main", "scale=smoke", "trainer.max_epochs=-1"], "max_epochs"),
        (["sweeps.cli", "plan", "sweep=re/main", "scale=huge"], "no scale"),
        (["sweeps.cli", "paln"], "plan"),
        (["sweeps.cli", "plan", "sweep=re/main", "--jsn"], "--json"),
    ],
)
def test_the_real_command_ends_with_one_line_and_status_2(command, said, tmp_path):
    outputs = f"paths.outputs={tmp_path.as_posix()}/outputs"
    done = subprocess.run(
        [sys.executable, "-m", *command, *([outputs] if len(command) > 2 else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("papergrid: ")]
    assert len(lines) == 1 and said in lines[0] and "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "scale"), [(name, scale) for name in definition.names() for scale in definition.load(name).scales]
)
def test_every_sweep_composes_at_every_scale_that_it_has(name, scale):
    points = definition.load(name).points(scale)
    assert points
    # Not signed: a signature reads weights and licensed data, which the larger scales name and few machines have.
    for overrides in {overrides for _, overrides, _ in points}:
        config, _ = plan.resolve(COMPOSER.compose((f"scale={scale}", *overrides)))
        assert config["scale"] == scale


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in definition.names() for scale in definition.load(name).scales if scale in WITH_WEIGHTS],
)
def test_no_generated_world_and_no_random_weights_are_called_small_or_paper(name, scale):
    for row, overrides in {row: overrides for row, overrides, _ in definition.load(name).points(scale)}.items():
        config, _ = plan.resolve(COMPOSER.compose((f"scale={scale}", *overrides)))
        made = [node["_target_"] for node in nodes(config["data"]) if "_target_" in node]
        assert made and not [target for target in made if target.startswith("data.worlds.")], row
        model = config["method"].get("model")
        assert model is None or model.get("weights") or model.get("source"), row


@pytest.mark.parametrize("name", definition.names())
@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_every_sweep_is_signed_at_the_scales_of_a_laptop(name, scale):
    loaded = definition.load(name)
    cells = PLANNER.sweep(loaded, scale)
    assert len(cells) == len(loaded.points(scale)) > 0
    assert [cell.signature for cell in cells] == [cell.signature for cell in PLANNER.sweep(loaded, scale)]


def test_sweeps_share_cells_and_order_changes_nothing():
    cells = PLANNER.sweep(definition.load("re/main"), "tiny")
    again = PLANNER.sweep(definition.load("re/main"), "tiny", seeds=(4, 3, 2, 1, 0))
    assert {cell.signature for cell in cells} == {cell.signature for cell in again}
    for names in (("re/main", "re/decoding"), ("re/k", "re/prompt", "re/retriever")):
        signatures = [{cell.signature for cell in PLANNER.sweep(definition.load(name), "tiny")} for name in names]
        assert all(one & other for one, other in itertools.combinations(signatures, 2))
    # Other tests on the same weights.
    trained = [
        {cell.training for cell in PLANNER.sweep(definition.load(name), "tiny") if cell.row.startswith(rows)}
        for name, rows in (("re/prompt", "Fine-tuned"), ("re/implicit", "SemEval, fine-tuned"))
    ]
    assert len(trained[1]) == 10 and trained[1] < trained[0]


def test_a_value_of_another_kind_is_answered_with_what_is_taken():
    def made(word: Literal["none", "old"] = "none", count: int | None = None, rate: float = 0.1) -> None: ...

    for node, said in (
        ({"word": "sideways"}, "m.word is 'sideways': it takes none or old"),
        ({"count": "many"}, "m.count is 'many': it takes int or null"),
        ({"rate": None}, "m.rate is None: it takes float"),
    ):
        with pytest.raises(UserError) as error:
            schema.check_arguments(made, node, "m")
        assert str(error.value) == said
