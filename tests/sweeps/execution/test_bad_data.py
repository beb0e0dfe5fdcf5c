"""Bad rows end a cell before it trains: one line, class bad-data, exit status 2."""

import json

import pytest

from data.preferences.text_sets import DemonstrationSet
from sweeps import run
from sweeps.cli import by_hand

SENTENCES = [
    {"id": number, "sentence": f"The <e1>a{number}</e1> of <e2>b</e2>.", "relation": "Other"} for number in range(30)
]
RELATIONS = ["method=constant", "data=samples", "data.files.train=mine.jsonl"]
LESSONS = [{"instruction": f"Say {number}.", "output": f"It is {number}."} for number in range(30)]
TRAINED = ["method=sft", "data=alpaca_demo", "model=tiny_llama", "evaluation=text", "data.files.train=mine.jsonl",
           "data.longest=1000", "data.limit=40", "trainer.max_epochs=1"]  # fmt: skip
PAIRS = [{"prompt": f"Say {number}.", "chosen": f"{number}", "rejected": "no"} for number in range(30)]
PREFERENCES = ["experiment=preferences", "data.files.train=mine.jsonl"]


@pytest.fixture
def cell(tmp_path, monkeypatch, capsys):
    """Runs a cell by hand on these rows: exit status, what was printed last, and how it failed."""
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    monkeypatch.setattr("lightning_modules.training.fit.fit", lambda *_, **__: pytest.fail("it was trained"))

    def make(overrides, rows, file="mine.jsonl"):
        content = rows if isinstance(rows, bytes) else "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        (tmp_path / file).write_bytes(content)
        status = by_hand([*overrides, "logger=none", f"paths.outputs={tmp_path / 'outputs'}"])
        (failed,) = (tmp_path / "outputs" / "runs").glob("*/failed.json")
        printed = "".join(capsys.readouterr())
        assert "Traceback" not in printed
        said = [line for line in printed.splitlines() if line.startswith("failed")]
        return status, said, json.loads(failed.read_text())

    return make


@pytest.mark.parametrize(
    ("overrides", "rows", "said"),
    [
        (RELATIONS, [{"sentense": "x", **{k: v for k, v in SENTENCES[0].items() if k != "sentence"}}],
         "mine.jsonl, row 1: sentence is missing (did you mean sentense?): found id, relation, sentense; wanted"),
        (RELATIONS, [*SENTENCES[:2], {**SENTENCES[2], "sentence": ["x"]}], "mine.jsonl, row 3: sentence must be text"),
        (RELATIONS, [*SENTENCES[:2], {**SENTENCES[2], "relation": "Othr"}], "at mine.jsonl, row 3; correct"),
        (RELATIONS, b'{"id": 1}\n{"id": \n', "mine.jsonl, line 2: no JSON"),
        (RELATIONS, b'{"id": "caf\xe9"}\n', "mine.jsonl, line 1: byte 0xe9 is not UTF-8"),
        (RELATIONS, b"", "mine.jsonl is empty"),
        (TRAINED, LESSONS, "alpaca_demo has no split 'test': it has train"),
        ([*TRAINED, "+data.files.test=mine.jsonl"], [*LESSONS, {"instruction": "Say."}],
         "mine.jsonl, row 31: output is missing"),
        ([*PREFERENCES, "data.held_out=0.0"], PAIRS, "holds nothing out: raise data.held_out"),
        (PREFERENCES, [*PAIRS, {"promt": "x", "chosen": "a", "rejected": "b"}], "mine.jsonl, row 31: prompt is missin"),
    ],
)  # fmt: skip
def test_a_cell_with_bad_data_ends_in_one_line_before_it_trains(overrides, rows, said, cell):
    status, (line,), failed = cell(overrides, rows)
    assert status == 2 and failed["class"] == "bad-data"
    assert said in line and said in failed["reason"]


def test_a_failure_of_another_class_keeps_its_exit_status(cell, monkeypatch):
    monkeypatch.setattr("data.relations.relation_data.RelationData.prepare", lambda *_: 1 / 0)
    status, _, failed = cell(RELATIONS, SENTENCES)
    assert status == 1 and failed["class"] == "bug"


def test_the_judged_split_is_asked_for_before_the_base_is_trained():
    asked = []

    class Data(DemonstrationSet):
        def __init__(self):
            super().__init__(name="mine", reader="alpaca", files={"train": "x"}, batch_size=1, seed=0)

        def _rows(self, split):
            asked.append(split)
            return super()._rows(split) if split != "train" else []

    class Method:
        def attach(self, data):
            pass

        def load_weights(self, folder):
            pytest.fail("a base was trained")

    class Progress:
        def phase(self, name):
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "build", lambda config: (Data(), Method()))
        with pytest.raises(ValueError, match="no split 'test'"):
            run.prepare({"base": {}}, {"base": {}}, None, Progress(), judged="test")
        assert asked == ["test"]
