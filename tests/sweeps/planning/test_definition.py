import datetime
import subprocess
import sys
import time

import pytest

from sweeps import cli
from sweeps.errors import UserError
from sweeps.planning import definition
from sweeps.planning.definition_checks import check_scores
from sweeps.planning.plan import Planner
from sweeps.signatures import signature

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
    "scales": {"tiny": {}, "smoke": {"seeds": [7], "base": ["data=samples"], "leave_out": ["a"]}},
}
PUBLISHED = {"row": "a", "column": "macro_f1", "value": 1, "source": "s", "confidence": "printed"}
CLAIM = {"id": "c", "text": "t", "kind": "greater", "left": "a", "right": "constant", "column": "macro_f1"}


def make(**changes):
    return definition.parse("re/x", {**MINIMAL, **changes})


def arms(*entries):
    return {"grid": [*MINIMAL["grid"], *({"row": row, "overrides": overrides} for row, overrides in entries)]}


def test_union_of_products():
    points = make().points("tiny")
    assert len(points) == 2 + 4 * 2 + 1 * 2 - 1
    assert ("k = 3, sbert", ("prompt.k=3", "retriever=sbert"), 1) in points
    assert [row for row, _, _ in points][-1] == "constant"


def test_scale_changes_base_seeds_and_arms_but_not_a_deterministic_arm():
    points = make().points("smoke")
    assert {seed for row, _, seed in points if row != "constant"} == {7}
    assert ("constant", ("data=samples", "method=constant"), 0) in points
    assert "a" not in {row for row, _, _ in points}


def test_asked_for_seeds_win_over_the_definition():
    assert {seed for row, _, seed in make().points("tiny", [3, 4]) if row == "a"} == {3, 4}


def test_what_a_row_sets_itself_is_told_from_what_all_rows_have():
    assert make(base=["data=samples"]).own("tiny")["k = 1, bm25"] == ("prompt.k=1", "retriever=bm25")


@pytest.mark.parametrize("scale", ["small", "paper", "huge"])
def test_a_scale_that_the_file_does_not_define_is_refused_with_those_that_it_has(scale):
    with pytest.raises(UserError, match=f"sweep re/x has no scale '{scale}': it has smoke and tiny"):
        make().points(scale)


def test_scales_come_in_their_own_order_and_one_without_changes_is_named_alone():
    assert list(make(scales={"paper": None, "tiny": {}, "smoke": None}).scales) == ["smoke", "tiny", "paper"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grids": []}, "did you mean grid"),
        ({"seeds": 3}, "list of whole numbers"),
        ({"seeds": [0, True]}, "list of whole numbers"),
        ({"seeds": [0, -1]}, "list of whole numbers"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [2**32]}, "list of whole numbers"),
        ({"seeds": []}, "list of whole numbers"),
        ({"scales": {"tinny": {}}}, "did you mean tiny"),
        ({"scales": {}}, "has no scale"),
        ({"scales": None}, "scales is NoneType"),
        ({"scales": {"tiny": {"bsae": []}}}, "did you mean base"),
        ({"scales": {"tiny": ["base"]}}, "scale tiny is list, not a mapping"),
        ({"scales": {"tiny": {"leave_out": "a"}}}, "leave_out is 'a': give a list"),
        ({"scales": {"tiny": {"leave_out": ["b"]}}}, "leaves out the unknown row 'b'"),
        ({"scales": {"tiny": {"seeds": [0.5]}}}, "list of whole numbers"),
        ({"scales": {"tiny": {"leave_out": ["a"]}, "smoke": {"leave_out": ["a"]}}}, "'a' is left out at every scale"),
        ({"grid": None}, "grid is None: give a list"),
        ({"grid": []}, "give a list with something in it"),
        ({"grid": ["a"]}, "grid entry 1 is str"),
        ({"grid": [{"row": "a"}]}, "lacks the entry 'overrides'"),
        ({"grid": [{"row": 5, "overrides": {}}]}, "has 5 where a text is wanted"),
        ({"grid": [{"row": "a", "overrides": None}]}, "has the overrides None"),
        ({"grid": [{"row": "a", "overrides": {}, "sedes": [0]}]}, "did you mean seeds"),
        (arms(("b", {"prompt.k": []})), "gives prompt.k no value at all"),
        (arms(("b", {3: 4})), "a config key is a text"),
        (arms(("b", {"data.since": datetime.date(2020, 1, 1)})), "a date is a text in quotes"),
        (arms(("b", {"method.beta": float("nan")})), "give finite numbers"),
        (arms(("b", {"seed": [0, 1]})), "sets seed, which the sweep's own entry 'seeds' is for"),
        (arms(("b", {"scale": "paper"})), "entry 'scales'"),
        ({"base": ["scale=paper"]}, "entry 'scales'"),
        ({"base": ["method"]}, "write key=value"),
        ({"base": "method=re"}, "base is 'method=re': give a list"),
        ({"table": {"columns": "macro_f1"}}, "columns is 'macro_f1': give a list"),
        ({"table": {"columns": []}}, "give a list with something in it"),
        ({"table": {"columns": ["makro_f1"]}}, "'makro_f1', which is no score: did you mean macro_f1"),
        ({"table": {"columns": ["macro_f1", "macro_f1"]}}, "twice"),
        ({"table": {"columns": ["macro_f1"], "curve": []}}, "did you mean curves"),
        ({"published": [{"row": "konstant", "column": "macro_f1", "value": 1}]}, "did you mean constant"),
        ({"published": [{"row": "a", "column": "macro-f1", "value": 1}]}, "did you mean macro_f1"),
        ({"published": [{"row": "a", "column": "macro_f1", "value": 1}]}, "lacks the entry 'confidence'"),
        ({"published": [{**PUBLISHED, "values": 1}]}, "did you mean value"),
        ({"published": [{**PUBLISHED, "value": "34.7"}]}, "has '34.7' as its value: it takes float or null"),
        ({"published": [{**PUBLISHED, "comparable": "no"}]}, "as its comparable: it takes bool"),
        ({"published": [PUBLISHED, PUBLISHED]}, "two published values"),
        ({"published": ["34.7"]}, "published number 1 is str"),
        ({"claims": [{"left": "a", "right": "k = 9, sbert", "column": "macro_f1"}]}, "unknown row"),
        ({"claims": [{**CLAIM, "kind": "grater"}]}, "claim c has the kind 'grater': did you mean greater"),
        ({"claims": [{**CLAIM, "column": "accuracy"}]}, "unknown column 'accuracy'"),
        ({"claims": [{**CLAIM, "right": 50}]}, "is greater and its right side is 50: give a row"),
        ({"claims": [{**CLAIM, "kind": "at_least"}]}, "right side is 'constant': give a number"),
        ({"claims": [{**CLAIM, "kind": "equal_within"}]}, "give a margin above 0"),
        ({"claims": [{**CLAIM, "margin": 2.0}]}, "give no margin"),
        ({"claims": [{**CLAIM, "marign": 2.0}]}, "did you mean margin"),
        ({"claims": [CLAIM, CLAIM]}, "comes twice"),
        ({"claims": [{key: value for key, value in CLAIM.items() if key != "text"}]}, "lacks the entry 'text'"),
        ({"claims": {"c": CLAIM}}, "claims is .*: give a list"),
        ({"notes": ["plain", {"a colon makes": "a mapping"}]}, "where a text is wanted"),
        ({"notes": "one"}, "notes is 'one': give a list"),
        ({"question": None}, "where a text is wanted"),
        ({"paper": 2406}, "where a text is wanted"),
        ({"full": ["make"]}, "where a text is wanted"),
    ],
)
def test_faults_are_named(change, said):
    with pytest.raises(UserError, match=said) as error:
        make(**change)
    assert str(error.value).startswith("sweep re/x") and "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [None, "text", ["a"], 3])
def test_a_file_that_is_no_mapping_is_refused(raw):
    with pytest.raises(UserError, match="not a mapping of"):
        definition.parse("re/x", raw)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("b", {"method": ["re", "constant"]})], r"they differ in method \(re and constant\); put \{method\} into"),
        ([("b", {"method": "re"}), ("b", {"prompt": "labelled"})], r"method \(re and not set\), prompt \(not set and"),
        ([("a", {"method": "re"})], "'a': they are the same; keep one"),
        ([("f {mu}", {"mu": [0.1, 0.2], "nu": [1, 2]})], r"'f 0.1': they differ in nu \(1 and 2\)"),
        ([("f {mu}", {"mu": [0.1, 0.10]})], "they are the same"),
    ],
)
def test_two_cells_under_one_row_are_refused_with_what_differs(entries, said):
    with pytest.raises(UserError, match=said):
        make(**arms(*entries))


def test_a_row_that_is_named_by_what_it_does_not_set_is_refused():
    with pytest.raises(UserError, match=r"named by \{retreiver\}, which it does not set: did you mean retriever"):
        make(**arms(("by {retreiver}", {"retriever": ["bm25", "sbert"]})))


def test_unknown_sweep_names_near_ones():
    with pytest.raises(UserError, match="re/main"):
        definition.load("re/mian")


@pytest.fixture
def papers(tmp_path, monkeypatch):
    """A folder of sweep files, one of them whole."""
    (tmp_path / "papers" / "re").mkdir(parents=True)
    whole = (definition.PAPERS / "re" / "demo.yaml").read_bytes()
    monkeypatch.setattr(definition, "PAPERS", tmp_path / "papers")
    (tmp_path / "papers" / "re" / "demo.yaml").write_bytes(whole)
    return tmp_path / "papers"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"paper: re\ntitle: a: b\n", r"x\.yaml, line 2, column 9: mapping values are not allowed"),
        (b"paper: re\ngrid:\n  - row: [a\n", r"x\.yaml, line 4"),
        (b"paper: re\ntitle: t\n\npaper: amft\n", r"x\.yaml, line 4, column 1: 'paper' comes twice"),
        (b"grid:\n  - {row: a, overrides: {k: 1, k: 2}}\n", r"x\.yaml, line 2, column 32: 'k' comes twice"),
        (b"paper: re\nnotes: \xff\n", r"x\.yaml, line 2: a byte that is no UTF-8"),
        (b"paper: re\nnotes: \x07\n", r"x\.yaml, line 2"),
        (b"paper: re\nnotes: !!python/object:os.system {}\n", r"x\.yaml, line 2.*could not determine a constructor"),
        (b"paper: *nothing\n", r"x\.yaml, line 1.*undefined alias"),
        (b"since: 2020-13-45\n", r"x\.yaml.*month must be in"),
        (b"? [a, b]\n: 1\n", r"unknown entry|unhashable"),
        (b"", "not a mapping of"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_its_line_and_hides_no_other(papers, content, said, capsys):
    (papers / "re" / "x.yaml").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        definition.load("re/x")
    assert "<unicode string>" not in str(error.value) and "<byte string>" not in str(error.value)
    assert cli.main(["list"]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("re/demo ") and shown.err.startswith("papergrid: ") and shown.err.count("\n") == 1


def test_a_file_that_cannot_be_read_is_named(papers):
    (papers / "re" / "x.yaml").mkdir()
    with pytest.raises(UserError, match=r"x\.yaml cannot be read"):
        definition.load("re/x")


def test_the_list_says_which_scales_each_sweep_has(capsys):
    assert cli.main(["list"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert sorted(lines) == definition.names()
    for name, words in lines.items():
        scales = list(definition.load(name).scales)
        assert words[1 : 1 + len(scales)] == scales and words[1 + len(scales)] not in definition.SCALES


def test_reading_every_sweep_takes_neither_torch_nor_pandas():
    script = "import sys\nfrom sweeps import cli\ncli.main(['list'])\nprint({'torch', 'pandas'} & set(sys.modules))"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()" and time.monotonic() - began < 20


RELATIONS = ("samples", ("data.scoring.relations", "data.scoring.labels"))
FACTS = ("facts", ("data.scoring.columns", "data.scoring.rag"))


@pytest.mark.parametrize(
    ("columns", "data", "said"),
    [
        (["exact_match"], RELATIONS, r"'exact_match', no score of its data \(samples\): valid: accuracy"),
        (["macro_f1"], FACTS, r"'macro_f1', no score of its data \(facts\)"),
        (["macro_f1", "gold_in_context"], RELATIONS, "'gold_in_context', no score"),
    ],
)
def test_a_column_that_no_data_of_the_sweep_has_is_refused(columns, data, said):
    with pytest.raises(UserError, match=said):
        made = make(table={"columns": columns})
        check_scores(made, dict.fromkeys(made.rows("tiny"), data))


def test_a_column_of_one_rows_data_is_taken_and_a_claim_on_anothers_is_refused():
    claimed = make(table={"columns": ["macro_f1", "exact_match"]}, claims=[CLAIM])
    data = {**dict.fromkeys(claimed.rows("tiny"), RELATIONS), "constant": FACTS}
    check_scores(make(table={"columns": ["macro_f1", "exact_match"]}), data)
    with pytest.raises(UserError, match=r"claim c is about the macro_f1 of 'constant', whose data \(facts\) have no"):
        check_scores(claimed, data)
    check_scores(claimed, {"a": RELATIONS})  # at a scale that leaves the others out


def test_a_plan_refuses_columns_that_its_data_lack():
    raw = {
        **MINIMAL, "base": ["data=samples", "base=none"], "scales": {"smoke": {}},
        "grid": [{"row": "constant", "overrides": {"method": "constant"}}],
    }  # fmt: skip
    assert len(Planner(lenient=True).sweep(definition.parse("re/x", raw), "smoke")) == 2
    raw["table"] = {"columns": ["id_success"]}
    with pytest.raises(UserError, match=r"sweep re/x has the column 'id_success', no score of its data \(samples\)"):
        Planner(lenient=True).sweep(definition.parse("re/x", raw), "smoke")


def test_scores_of_data_of_ones_own_may_be_columns(tmp_path, monkeypatch):
    (tmp_path / "own_scores_of_mine.py").write_text(
        "from data.scoring.score import mean_of\nSCORES = (mean_of('cleverness'),)\n"
    )
    (tmp_path / "own_data_of_mine.py").write_text(
        "class Mine:\n    scored_by: tuple[str, ...] = ('own_scores_of_mine',)\n"
    )
    (tmp_path / "conf" / "data").mkdir(parents=True)
    monkeypatch.setattr(signature, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="'cleverness', which is no score"):
        make(table={"columns": ["cleverness"]})
    (tmp_path / "conf" / "data" / "mine.yaml").write_text("_target_: own_data_of_mine.Mine\n")
    assert make(table={"columns": ["cleverness"]}).columns == ("cleverness",)


def test_a_claim_whose_rows_no_scale_shows_together_is_refused():
    scales = {"tiny": {"leave_out": ["a"]}, "smoke": {"leave_out": ["constant"]}}
    with pytest.raises(UserError, match="claim c compares a and constant, which no scale shows in one table"):
        make(scales=scales, claims=[CLAIM])
