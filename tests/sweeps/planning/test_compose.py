"""Our composition without Hydra gives what Hydra gives, or says that Hydra has to do it."""

import random

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sweeps.errors import UserError
from sweeps.planning import definition, plan
from sweeps.planning.compose import Beyond, PlainComposer

TOP = {entry.path for entry in PlainComposer(plan.CONF).file("config").defaults}
"""Groups of the defaults list; all others are parts of their options, and nothing chooses those at the top."""

GROUPS = {group: names for group, names in plan.groups().items() if group in TOP}
OURS = PlainComposer(plan.CONF)
PARSER = OverridesParser.create()


def both(overrides, conf=plan.CONF, ours=OURS):
    """Our composition and Hydra's, interpolations unresolved."""
    choices = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    with initialize_config_dir(str(conf), version_base=None):
        theirs = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=False)
    return ours.compose(choices), theirs


@pytest.mark.parametrize("number", range(max(map(len, GROUPS.values()))))
def test_every_option_composes_as_hydra_does(number):
    # One option of every group at a time: as many compositions as the largest group has options. Experiments choose
    # options themselves, of groups that another choice may take away.
    plain = {group: names for group, names in GROUPS.items() if group != "experiment"}
    # Its `files: ${data.files}` replaces a section, which is Hydra's to do.
    plain["base"] = [name for name in plain["base"] if name != "infifpo/preference_sft"]
    mine, theirs = both([f"{group}={names[number % len(names)]}" for group, names in plain.items()])
    assert mine == theirs


@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_every_experiment_composes_as_hydra_does(name):
    mine, theirs = both([f"experiment={name}"])
    assert mine == theirs


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("experiment=re_smoke", "data=semeval2010"),
        ("base=re/fewrel", "retriever@base.retriever=bm25", "retriever=sbert"),
    ],
    ids=" ".join,
)
def test_combinations_compose_as_hydra_does(overrides):
    mine, theirs = both(overrides)
    assert mine == theirs


@pytest.mark.slow
def test_a_broad_sample_of_combinations_composes_as_hydra_does():
    draw, refused, handed = random.Random(0), 0, 0
    for _ in range(150):
        chosen = draw.sample(sorted(GROUPS), draw.randint(2, len(GROUPS)))
        overrides = tuple(f"{group}={draw.choice(GROUPS[group])}" for group in chosen)
        try:
            mine, theirs = both(overrides)
        except HydraException:  # an experiment overrides what another choice took away
            with pytest.raises(Beyond):
                OURS.compose(dict(override.split("=") for override in overrides))
            refused += 1
            continue
        except Beyond:  # handed to Hydra, as preference_sft is
            handed += 1
            continue
        assert mine == theirs, overrides
    assert refused < 50 and handed < 15


def test_no_sweep_at_any_scale_needs_hydra():
    composer = plan.Composer()
    for loaded in map(definition.load, definition.names()):
        for scale in loaded.scales:
            for _, overrides, seed in loaded.points(scale):
                composer.compose((f"scale={scale}", *overrides, f"seed={seed}"))
    assert composer.by_hydra == 0


def write(root, **files):
    for path, text in files.items():
        path = root / f"{path.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


TREE = {
    "config": "defaults:\n  - a: one\n  - b: two\n  - /c@c.d: x\n  - _self_\n  - late: none\nk: 1e-3\na: {p: config}\n",
    "a__one": "defaults: [base]\np: one\nq: [1, 2]\nwhen: 2020-01-01\n",
    "a__other": "# @package _global_\na: {p: other, r: null}\nk: 7\n",
    "a__base": "p: base\nq: [9]\ns: {t: 1}\nu: {v: 1}\n",
    "a__rooted": "# @package z.y\np: rooted\n",
    "b__two": "defaults:\n  - _self_\n  - sub@_here_: m\n  - sub@w: n\nv: 1\nfrom: two\n",
    "b__nested": "defaults: [two, {/c: y}]\nfrom: nested\n",
    "b__sub__m": "v: m\nonly: m\n",
    "b__sub__n": "v: n\n",
    "c__x": "x: 1\n",
    "c__y": "y: ${k}\n",
    "late__none": "{}\n",
    "late__over": "# @package _global_\ndefaults:\n  - override /a: other\n  - override /c@c.d: y\na: {s: 5}\nnew: 1\n",
    "late__away": "# @package _global_\ndefaults:\n  - override /b: null\nx: 1\n",
    "late__sub": "# @package _global_\ndefaults:\n  - override /b/sub@b.w: m\n",
}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("a=other",),
        ("a=rooted",),
        ("b=nested",),
        ("late=over",),
        ("late=over", "a=rooted"),
        ("late=away",),
        ("late=sub",),
        ("c@c.d=y", "b/sub@b.w=m"),
    ],
    ids=" ".join,
)
def test_defaults_lists_packages_and_overrides_follow_hydras_rules(tmp_path, overrides):
    write(tmp_path, **TREE)
    mine, theirs = both(overrides, tmp_path, PlainComposer(tmp_path))
    assert mine == theirs


@pytest.mark.parametrize(
    ("files", "choices"),
    [
        ({"config": "defaults: [optional a: one]\n", "a__one": "x: 1\n"}, {}),
        ({"config": "defaults: [{a: [one, two]}]\n", "a__one": "x: 1\n", "a__two": "y: 1\n"}, {}),
        ({"config": "defaults: [{a: one}, {b: '${a}'}]\n", "a__one": "x: 1\n", "b__one": "x: 1\n"}, {}),
        ({"config": "defaults: [{a@x:y: one}]\n", "a__one": "x: 1\n"}, {}),
        ({"config": "defaults: [{a@_group_: one}]\n", "a__one": "x: 1\n"}, {}),
        ({"config": "defaults: [{a: one}, _self_]\na: {x: ???}\n", "a__one": "x: 1\n"}, {}),
        ({"config": "defaults: [{a: one}, _self_]\na: {x: {y: 1}}\n", "a__one": "x: ${z}\n"}, {}),
        ({"config": "defaults: [{a: one}, _self_]\na: {x: [1]}\n", "a__one": "x: {y: 1}\n"}, {}),
        ({"config": "x: 1\nx: 2\n"}, {}),
        ({"config": "defaults: [{a: gone}]\n"}, {}),
        ({"config": "x: 1\n"}, {"a": "one"}),
        ({"config": "defaults: [override /a: one]\nx: 1\n"}, {}),
    ],
)
def test_what_goes_beyond_is_left_to_hydra(tmp_path, files, choices):
    write(tmp_path, **files)
    with pytest.raises(Beyond):
        PlainComposer(tmp_path).compose(choices)


def theirs_parsed(text):
    try:
        (found,) = PARSER.parse_overrides([text])
    except (HydraException, ValueError):
        return None
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["seed", "data.train_limit", "prompt/style", "a.b.c", "_x"]),
    st.text(alphabet="atrufelsnTN0159-_./e", min_size=1, max_size=8)
    | st.sampled_from(["true", "False", "null", "nan", "NaN", "inf", "-0", "0.5", "-1.50", "1e-3", "00", "1_0"]),
)
def test_a_plain_override_is_parsed_as_hydra_does(key, value):
    text = f"{key}={value}"
    mine = plan.parse_plain(text)
    if mine is None:
        return
    found = theirs_parsed(text)
    assert found is not None, text
    assert (mine.key, mine.package) == (found.key_or_group, found.package)
    assert type(mine.value) is type(found.value()) and mine.value == found.value()
    assert not found.is_add() and not found.is_delete() and not found.is_sweep_override()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed=3", 3),
        ("k=-1", -1),
        ("x=0.5", 0.5),
        ("a.b=true", True),
        ("x=null", None),
        ("data=samples", "samples"),
        ("paths.outputs=/tmp/a-b", "/tmp/a-b"),
    ],
)
def test_everyday_overrides_need_no_hydra(text, value):
    assert plan.parse_plain(text) == plan.Override(text, text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["x='a b'", "+x=1", "~x", "a@b=c", "x=[1,2]", "x={a: 1}", "x=1,2", "x=", "x=a$b"])
def test_unusual_overrides_are_left_to_hydra(text):
    assert plan.parse_plain(text) is None


def test_choices_are_split_as_hydras_basic_sweeper_does():
    overrides = ["scale=smoke", "retriever=none,bm25", "seed=0,1,2", "x=0.5"]
    theirs = [job for batch in BasicSweeper.split_arguments(PARSER.parse_overrides(overrides), None) for job in batch]
    assert [list(point) for point in plan.split_choices(overrides)] == theirs and len(theirs) == 6


@pytest.mark.parametrize("override", ["seed=range(3)", "retriever=glob(*)", "x='a,b'", "hydra.sweeper.x=1", "x=[1,2]"])
def test_other_sweeps_are_left_to_hydra(override):
    assert plan.split_choices(["seed=1", override]) is None


REFERENCES = {
    "direct": {"a": "${b}", "b": 1},
    "relative": {"x": {"a": "${.b}", "b": "${..c}"}, "c": [1, {"d": "${k}"}], "k": 2},
    "through": {
        "base": {"model": "${model}", "method": {"cost": "${..model.cost}"}},
        "model": {"cost": {"s": "${k}"}},
        "k": 3,
    },
    "far": {"a": "${b.c.d}", "b": "${e}", "e": {"c": "${f}"}, "f": {"d": "${.g}", "g": 5}},
}


@pytest.mark.parametrize("name", list(REFERENCES))
def test_references_resolve_as_omegaconf_does_and_without_it(name, monkeypatch):
    config = REFERENCES[name]
    theirs = plan._resolved_by_omegaconf(config)
    monkeypatch.setattr(plan, "_resolved_by_omegaconf", None)
    assert plan._resolved(config) == theirs


@pytest.mark.parametrize("config", [{"a": "${b.x}", "b": "${a}"}, {"a": {"b": "${a}"}}, {"a": "${a}"}])
def test_references_in_a_circle_are_refused(config):
    with pytest.raises(UserError, match="refers to itself"):
        plan._resolved(config)


def test_no_sweep_needs_omegaconf_to_resolve(monkeypatch):
    monkeypatch.setattr(plan, "_resolved_by_omegaconf", None)
    composer = plan.Composer()
    for loaded in map(definition.load, definition.names()):
        for scale in loaded.scales:
            for _, overrides, seed in loaded.points(scale):
                plan.resolve(composer.compose((f"scale={scale}", *overrides, f"seed={seed}")))
