"""Whatever is wrong with rows that people bring is one line with file, row, found and wanted, and no bug of a reader.

Readers are discovered. Each is fed every fault: columns that are missing, misspelt, null or of another type, junk of
any kind, empty rows; and each data object files that are empty, broken, not UTF-8 or of another format.
"""

import gzip
import importlib
import json
import pkgutil

import pandas as pd
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

import data as package
from data.files.rows import BadRowError, Row
from data.files.stages import TemporaryStages
from data.preferences.judged_set import JudgedSet
from data.preferences.pair_files import PreferenceFiles
from data.preferences.prompt_sets import PromptSets, prompt_text
from data.preferences.text_rows import DEMONSTRATIONS, PAIRS
from data.preferences.text_sets import DemonstrationSet, PreferenceSet
from data.rag.chunking import Chunker
from data.rag.corpus import Corpus
from data.rag.question_sets import READERS as QUESTIONS
from data.rag.question_sets import QuestionSet
from data.reasoning.problem_sets import READERS as PROBLEMS
from data.reasoning.problem_sets import ProblemSet
from data.relations.tacred import Patches
from tests.data.good_rows import GOOD, TALK

JUNK = [None, 7, -1, 2.5, True, "", "x", [], ["x"], [7], [[7]], [None], {}, {"x": 1}, [{"x": 1}]]


def discovered():
    """Every function that declares the columns of a row, by module and name."""
    found = {}
    for module in pkgutil.walk_packages(package.__path__, "data."):
        for name, thing in vars(importlib.import_module(module.name)).items():
            if getattr(thing, "columns", None) and getattr(thing, "__module__", "") == module.name:
                found[f"{module.name}.{name}"] = thing
    return found


READERS = discovered()


def read(name, row):
    """A row as a file gives it: each reader with what it takes besides."""
    places = {
        "data.rag.question_sets": (0, Chunker()),
        "data.relations.formats": (0,),
        "data.rag.corpus": (0,),
        "data.preferences.judged_set": (0,),
        "data.relations.scierc": ("test-0",),
        "data.preferences.pair_rows": ("r",),
    }
    rest = places.get(name.rpartition(".")[0], ())
    return READERS[name](Row(row, "my/rows.jsonl", 3), *rest)


def refused(name, row):
    with pytest.raises(BadRowError, match=r"^my/rows.jsonl, row 3: ") as caught:
        read(name, row)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


def test_every_reader_is_found_and_reads_a_good_row():
    assert len(READERS) == 36 and set(READERS) == set(GOOD)
    for name, row in GOOD.items():
        assert read(name, row) not in (None, [])


NEEDED = [
    (name, column)
    for name, reader in READERS.items()
    for column, check in reader.columns.items()
    if not hasattr(check, "may_lack")
]


@pytest.mark.parametrize(("name", "column"), NEEDED)
def test_a_missing_column_is_told_with_what_was_found_and_wanted(name, column):
    row = {key: value for key, value in GOOD[name].items() if key != column}
    said = refused(name, row)
    told = f"{column} is missing"
    assert told in said and f"found {', '.join(sorted(row)) or 'no column'}; wanted " in said
    assert column in said.partition("; wanted ")[2]


@pytest.mark.parametrize(("name", "column"), NEEDED)
@pytest.mark.parametrize("spell", [lambda name: f"{name}x", str.title, lambda name: f" {name}"])
def test_a_misspelt_column_is_guessed(name, column, spell):
    if spell(column) == column:
        pytest.skip(f"{column} is spelt so")
    row = {(spell(key) if key == column else key): value for key, value in GOOD[name].items()}
    said = refused(name, row)
    assert f"{column} is missing (did you mean {spell(column)}?)" in said or len(column) < 3


@pytest.mark.parametrize(("name", "column"), NEEDED)
def test_null_and_an_empty_row_are_refused(name, column):
    if not hasattr(READERS[name].columns[column], "may_be_null"):
        assert f"{column} is missing (null)" in refused(name, {**GOOD[name], column: None})
    assert column in refused(name, {}).partition("; wanted ")[2]


LOOSE = {
    ("data.preferences.text_rows.pandalm", "response1"),  # left out where it is no text, as in the release
    ("data.preferences.text_rows.pandalm", "response2"),
    ("data.endpoints.lm_eval_tasks._logged", "filtered_resps"),  # shown as it is
    ("data.endpoints.lm_eval_tasks._logged", "metrics"),
    ("data.preferences.pair_rows.preference_row", "ref_mean_chosen_logps"),  # not looked at without the sums
    ("data.preferences.pair_rows.preference_row", "ref_mean_rejected_logps"),
}


@pytest.mark.parametrize("name", READERS)
def test_junk_in_any_column_is_read_or_refused_and_never_a_bug(name):
    for column in READERS[name].columns:
        errors = 0
        for junk in JUNK:
            try:
                read(name, {**GOOD[name], column: junk})
            except BadRowError as error:
                errors += 1
                assert str(error).startswith("my/rows.jsonl, row 3: ") and "\n" not in str(error)
        assert errors >= 3 or (name, column) in LOOSE, (column, errors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_anything_that_json_can_hold_is_read_or_refused(name, drawn):
    column = drawn.draw(st.sampled_from(sorted(READERS[name].columns)))
    value = spoiled(GOOD[name].get(column), drawn)
    try:
        read(name, {**GOOD[name], column: value})
    except BadRowError as error:
        assert "\n" not in str(error)


def spoiled(value, drawn):
    """A value with something else in some place of it."""
    if isinstance(value, dict) and value and drawn.draw(st.booleans()):
        key = drawn.draw(st.sampled_from(sorted(value)))
        return {**value, key: spoiled(value[key], drawn)}
    if isinstance(value, list) and value and drawn.draw(st.booleans()):
        place = drawn.draw(st.integers(0, len(value) - 1))
        return [*value[:place], spoiled(value[place], drawn), *value[place + 1 :]]
    return drawn.draw(JSON)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("data.relations.formats.tagged_row", {"sentence": ["a", "b"]}, r"sentence must be text, got a list: \['a', 'b'\]"),  # noqa: E501
        ("data.relations.formats.tagged_row", {"sentence": "<e1>a</e1> b"}, "exactly one <e2>"),
        ("data.relations.formats.token_row", {"h": ["a", "Q1", [[5, 6]]]}, r"h has the positions \[5, 6\]; wanted: .* 0..5"),  # noqa: E501
        ("data.relations.formats.token_row", {"h": ["a", "Q1", []]}, r"h must be \[name, number, \[positions"),
        ("data.relations.tacred._example", {"subj_end": 9}, "example a: the head spans 0..10, wanted: a run inside 0..6"),  # noqa: E501
        ("data.relations.tacred._example", {"obj_start": "four"}, "obj_start must be a whole number, got text: 'four'"),
        ("data.relations.redocred._document", {"vertexSet": [[{"pos": [0, 9], "sent_id": 0}]]}, "pos is 0..9, wanted"),
        ("data.relations.redocred._document", {"vertexSet": [[{"pos": [0, 1], "sent_id": 4}]]}, "sent_id is 4, there are 1"),  # noqa: E501
        ("data.relations.redocred._document", {"labels": [{"h": 0, "t": 2, "r": "P20"}]}, r"labels\[0\].t is 2, there are 2"),  # noqa: E501
        ("data.relations.redocred._document", {"labels": [{"h": 0, "t": 1, "r": "P0"}]}, "property 'P0' has no name"),
        ("data.rag.question_sets.gold_row", {"answers": "Ada"}, "answers must be a list, got text: 'Ada'"),
        ("data.rag.question_sets.gold_row", {"gold": {"titel": "T"}}, r"gold.text is missing: gold has titel and needs"),  # noqa: E501
        ("data.rag.question_sets.paragraphs_row", {"paragraphs": [{"text": "x"}]}, r"paragraphs\[0\].is_supporting is missing"),  # noqa: E501
        ("data.rag.question_sets.abstract_row", {"labels": []}, "0 labels for 1 contexts"),
        ("data.rag.question_sets.choices_row", {"answer": 2}, r"answer is 2, wanted: 0\.\.1"),
        ("data.rag.question_sets.key_value_row", {"key": "z"}, "no pair of ordered_kv_records"),
        ("data.rag.question_sets.document_row", {"context": "Ada"}, "spans the characters 3..6, the context has 3"),
        ("data.preferences.text_rows.llmbar", {"label": 3}, "label must be one of 0, 1, 2, got a number: 3"),
        ("data.preferences.text_rows.binarised", {"chosen": []}, "chosen must have 1 or more, got 0"),
        ("data.reasoning.problem_sets.hand_row", {"numbers": [1, 1, 1, 1]}, r"numbers \[1, 1, 1, 1\] make 24 in no way"),  # noqa: E501
        ("data.reasoning.problem_sets.choice_row", {"answerKey": "C"}, "answerKey is 'C', the labels are A, B"),
        ("data.reasoning.problem_sets.chat_row", {"prompt": TALK[1:]}, "prompt has no message of the user"),
        ("data.preferences.pair_rows.preference_row", {"prompt": None, "promt": "q"}, r"did you mean promt\?"),
        ("data.preferences.pair_rows.preference_row", {"prompt": 7}, "the responses are text and prompt is 7"),
    ],
)  # fmt: skip
def test_what_is_wrong_inside_a_row_is_named(name, change, said):
    with pytest.raises(BadRowError, match=rf"^my/rows.jsonl, row 3: .*{said}"):
        read(name, {**GOOD[name], **change})


def test_what_is_wanted_itself_is_no_guess():
    row = {key: value for key, value in GOOD["data.preferences.text_rows.llmbar"].items() if key != "output_1"}
    assert "output_1 is missing: found" in refused("data.preferences.text_rows.llmbar", row)
    assert "output_1 is missing (did you mean output1?)" in refused(
        "data.preferences.text_rows.llmbar", row | {"output1": "x"}
    )


def test_open_questions_need_one_of_three_columns():
    said = refused("data.rag.question_sets.open_row", {"question": "Who?", "answer_text": ["Ada"]})
    assert "answers or golden_answers or answer is missing" in said


def test_a_prompt_column_of_another_name_is_named():
    with pytest.raises(BadRowError, match=r"question is missing \(did you mean questions\?\): found questions; wanted"):
        prompt_text({"questions": "Who?"}, "question")


def test_a_reader_of_ones_own_gets_the_missing_column_told():
    with pytest.raises(BadRowError, match=r"^f, row 2: sentence is missing \(did you mean sentense\?\): found"):
        Row({"sentense": "x"}, "f", 2)["sentence"]


# Files.


def relations(reader, composed):
    def load(file):
        settings = composed("data=samples") | {"labels": ["Other", "None"], "none_label": "Other", "reader": reader}
        return instantiate(settings | {"files": {"train": file}, "carve": {}}).examples("train")

    return load


def corpus_data(config, composed):
    def load(file):
        labels = {"labels": ["Other", "place of death", "no_relation"], "none_label": None}
        reader = {**composed(f"data={config}")["reader"]}
        reader |= {"none_label": "no_relation"} if "none_label" in reader else {}
        settings = composed(f"data={config}") | labels | {"files": {"train": file}, "reader": reader}
        return instantiate(settings).examples("train")

    return load


def loaders(composed):
    """What reads files of people: name of the reader -> file -> what was read."""
    train = {"batch_size": 1, "seed": 0, "name": "mine"}

    def prepared(file):
        made = PreferenceFiles(**train, files={"train": file}, held_out=0.0)
        made.prepare(TemporaryStages())
        return made.items("train")

    def judged(file):
        return JudgedSet(name="mine", files={"test": file}, judge=None, batch_size=1, seed=0).items("test")

    def questions(reader):
        return lambda file: QuestionSet(name="mine", reader=reader, files={"test": file}).examples("test")

    def problems(reader):
        return lambda file: range(ProblemSet(name="mine", reader=reader, files={"test": file}).size("test"))

    def texts(kind, reader):
        return lambda file: kind(reader=reader, files={"test": file}, **train).items("test")

    def patches(file):
        return Patches(files={"test": file}, others="keep").labels("test")

    made = {f"data.rag.question_sets.{name}_row": questions(name) for name in QUESTIONS}
    made |= {f"data.reasoning.problem_sets.{function.__name__}": problems(name) for name, function in PROBLEMS.items()}
    made |= {f"data.preferences.text_rows.{name}": texts(DemonstrationSet, name) for name in DEMONSTRATIONS}
    made |= {f"data.preferences.text_rows.{name}": texts(PreferenceSet, name) for name in PAIRS}
    return made | {
        "data.relations.formats.tagged_row": relations("tagged", composed),
        "data.relations.formats.token_row": relations("tokens", composed),
        "data.relations.tacred._example": corpus_data("tacred", composed),
        "data.relations.tacred._patch": patches,
        "data.relations.redocred._document": corpus_data("redocred_pairs", composed),
        "data.relations.scierc._example": corpus_data("scierc", composed),
        "data.preferences.pair_rows.preference_row": prepared,
        "data.preferences.judged_set.judged_row": judged,
        "prompts": lambda file: PromptSets(files={"mine": file}).read(TemporaryStages())[0],
    }


ROWS = {**GOOD, "prompts": {"prompt": "Who?"}}
FILES = sorted(
    {*ROWS} - {"data.endpoints.lm_eval_tasks._logged", "data.rag.corpus.titled_row", "data.rag.corpus.contents_row"}
)
"""Readers of files; the harness's results come from memory, and a corpus leaves bad rows out (below)."""


class Mine:
    """Files below a data root of its own, read as the data objects read them."""

    def __init__(self, root, made):
        self.root, self.made = root, made

    def read(self, name, content, file="rows.jsonl"):
        if not isinstance(content, bytes):
            content = b"".join(json.dumps(row).encode() + b"\n" for row in content)
        (self.root / file).write_bytes(content)
        return self.made[name](file)


@pytest.fixture
def mine(tmp_path, monkeypatch, relation_config):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    made = loaders(relation_config)
    assert set(made) == set(FILES)
    return Mine(tmp_path, made)


def rows(name):
    """Three good rows, with ids of their own."""
    names = ("id", "doc_id", "question_id")
    made = [{key: f"{value}{n}" if key in names else value for key, value in ROWS[name].items()} for n in range(3)]
    return [{**row, "prompt": f"Who is {n}?"} if name in ("prompts",) else row for n, row in enumerate(made)]


def column_of(name):
    """A column that the reader cannot do without."""
    needed = [column for reader, column in NEEDED if reader == name]
    return needed[0] if needed else "prompt"


@pytest.mark.parametrize("name", FILES)
def test_good_files_are_read_in_every_format(name, mine):
    found = mine.read(name, rows(name))
    assert len(found) > 0
    assert mine.read(name, json.dumps(rows(name), indent=1).encode(), "rows.json") == found
    lines = b"\n".join(json.dumps(row).encode() for row in rows(name))
    assert mine.read(name, gzip.compress(lines), "rows.jsonl.gz") == found
    if name not in (
        "data.relations.formats.token_row",
        "data.rag.question_sets.qed_row",
        "data.rag.question_sets.snippets_row",
    ):
        # Parquet holds no list of things of different kinds.
        pd.DataFrame(rows(name)).to_parquet(mine.root / "rows.parquet")
        assert mine.made[name]("rows.parquet") == found
    if all(isinstance(value, (str, int, float)) for value in ROWS[name].values()):
        pd.DataFrame(rows(name)).to_csv(mine.root / "rows.csv", index=False)
        assert mine.made[name]("rows.csv") == found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("file", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_file_with_a_bad_row_is_one_line_with_file_and_row(name, file, mine):
    *good, spoiled = rows(name)
    column = column_of(name)
    spoiled = {key: value for key, value in spoiled.items() if key != column} | {"another": "x"}
    if file == "rows.jsonl":
        content, number = [*good, spoiled], 3
    else:
        # A table has the same columns in every row.
        table, number = pd.DataFrame([{key: str(value) for key, value in spoiled.items()}]), 1
        write = table.to_csv if file.endswith("csv") else table.to_parquet
        write(mine.root / file, index=False)
        content = (mine.root / file).read_bytes()
    with pytest.raises(BadRowError, match=rf"^{file}, row {number}: .*{column}.* missing") as caught:
        mine.read(name, content, file)
    assert "\n" not in str(caught.value) and f"found {', '.join(sorted(spoiled))}; wanted " in str(caught.value)


BROKEN = {
    "nothing": (b"", "is empty"),
    "white space": (b"\n  \n", "has no row"),
    "no JSON": (b'{"a": 1}\n{"a": 1}\n{"a": \n', "line 3: no JSON"),
    "no object": (b'{"a": 1}\n{"a": 1}\n[1, 2]\n', r"row 3: \[1, 2\] is no JSON object"),
    "Latin-1": (b'{"a": 1}\n{"a": "caf\xe9"}\n', "line 2: byte 0xe9 is not UTF-8"),
    "UTF-16": ('{"a": 1}\n'.encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "half a character": (b'{"a": "\\ud800"}\n', "line 1: it holds half a character"),
    "a name twice": (b'{"a": 1, "a": 2}\n', "line 1: the name 'a' stands twice"),
    "an empty list": (b"[]", "has no row"),
    "a list of texts": (b'["a", "b"]', "row 1: 'a' is no JSON object"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_one_line(name, fault, mine):
    content, said = BROKEN[fault]
    with pytest.raises(BadRowError, match=rf"^rows.jsonl.*{said}") as caught:
        mine.read(name, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_half_an_archive_and_none_are_one_line(name, mine):
    whole = gzip.compress(b"\n".join(json.dumps(row).encode() for row in rows(name)))
    for content in (whole[:-10], b'{"a": 1}\n'):
        with pytest.raises(BadRowError, match=r"^rows.jsonl.gz is no whole gzip file"):
            mine.read(name, content, "rows.jsonl.gz")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("rows.csv", b"a,b\nx,1\ny,1,2\n", "cannot be read as CSV .*line 3"),
        ("rows.csv", b"a,b\ncaf\xe9,1\n", "cannot be read as CSV .*utf-8.*save it as CSV in UTF-8"),
        ("rows.csv", b"a,b\n", "has no row"),
        ("rows.csv", b"\n", "cannot be read as CSV"),
        ("rows.parquet", b"hello", "cannot be read as Parquet"),
    ],
)
def test_broken_tables_are_one_line(file, content, said, mine):
    with pytest.raises(BadRowError, match=rf"^{file} {said}") as caught:
        mine.read("prompts", content, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["data.relations.formats.tagged_row", "data.relations.scierc._example", "data.relations.tacred._example"]
)
def test_an_unknown_label_is_told_with_its_row_and_the_nearest(name, mine):
    column = "label" if "scierc" in name else "relation"
    *good, spoiled = rows(name)
    with pytest.raises(ValueError, match=r"'Othr' \(did you mean 'Other'\?\), at rows.jsonl, row 3; correct"):
        mine.read(name, [*good, {**spoiled, column: "Othr"}])


def test_a_condition_on_a_column_that_no_row_has_is_refused(mine):
    mine.read("data.rag.question_sets.open_row", rows("data.rag.question_sets.open_row"))
    with pytest.raises(ValueError, match="only asks for source, which no row of test has; found answers, id, question"):
        QuestionSet(name="s", reader="open", files={"test": "rows.jsonl"}, only={"source": ["a"]}).examples("test")


# Corpora leave bad rows out, count them and warn; a corpus without a passage is refused.


def corpus(file, reader="titled"):
    return Corpus(name="mine", files={"all": file}, reader=reader).passages(TemporaryStages())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"title": "T", "txt": "x"}], r"1 are malformed .*rows.jsonl, row 1: text is missing \(did you mean txt\?\)"),
        ([{"text": ["x"]}, {"text": 5}], "2 are malformed .*row 1: text must be text, got a list"),
        ([{"text": " "}, {"text": None}], "0 are malformed and 2 have no text"),
        ([[1, 2], "x"], r"2 are malformed .*row 1: no JSON object, but '\[1, 2\]'"),
        ([], "of 0 rows"),
    ],
)
def test_a_corpus_without_a_passage_says_why(rows, said, mine):
    (mine.root / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(ValueError, match=rf"^corpus mine has no passage: .*{said}") as caught:
        corpus("rows.jsonl")
    assert "\n" not in str(caught.value)


def test_malformed_rows_of_a_corpus_are_warned_of(mine):
    (mine.root / "rows.jsonl").write_text('{"text": "x"}\n{"text": 5}\n{"contents": "y"}\n{"text": "z"}\n')
    with pytest.warns(UserWarning, match=r"corpus mine: 2 of 4 rows are malformed .* rows.jsonl, row 2: text must be"):
        assert [passage.text for passage in corpus("rows.jsonl")] == ["x", "z"]


def test_corpora_come_as_tables_too(mine):
    table = pd.DataFrame([GOOD["data.rag.corpus.titled_row"], {"id": "b", "title": None, "text": "One more."}])
    table.to_csv(mine.root / "rows.csv", index=False)
    table.to_parquet(mine.root / "rows.parquet")
    for file in ("rows.csv", "rows.parquet"):
        assert [tuple(passage) for passage in corpus(file)] == [("a", "T", "By Ada."), ("b", "", "One more.")]
