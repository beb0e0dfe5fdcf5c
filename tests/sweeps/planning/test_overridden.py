"""Tables of a sweep that was changed on the command line never pass for the plain one."""

import itertools
import json
import re
import shlex
import subprocess

import pandas as pd
import pytest

from data.relations.formats import SEMEVAL_LABELS
from sweeps import cli
from sweeps.reporting.render import render
from sweeps.reporting.report import receipt_of, table_of
from sweeps.reporting.verify import verify_outputs

PLAIN = ("sweep=re/main", "scale=smoke")
ODD = 'data.files={train: "it\'s a file.jsonl", dev: "$HOME `x`", test: "re/*.jsonl"}'
"""What a shell would take apart, were it not quoted."""


def select(outputs, *arguments):
    return cli.select([*PLAIN, f"paths.outputs={outputs}", *arguments])


def finish(selection):
    """Leaves results of all cells that have none, different for every cell."""
    for number, cell in enumerate(dict.fromkeys(cell.signature for cell in selection.cells)):
        folder = selection.ledger.outputs / "runs" / cell
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        gold = [SEMEVAL_LABELS[index % 7] for index in range(40)]
        said = [label if (index + number) % 3 else SEMEVAL_LABELS[(index + 1) % 7] for index, label in enumerate(gold)]
        examples = {"example_id": [f"{index:03d}" for index in range(40)], "gold": gold, "prediction": said}
        pd.DataFrame(examples).to_parquet(folder / "examples.parquet")
        (folder / "done.json").write_text("{}")


def table(selection):
    return table_of(json.loads(json.dumps(receipt_of(selection))), selection.ledger.outputs)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("engine=serial",),
        ("engine.workers=1", "logger=none", "threads=1"),
        ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.checkpoint_every=5"),
        ("data.cost.rows=3", "model=tiny_generator", "data=samples"),
        ("seeds=1,0",),
        ("--accept-code-drift",),
    ],
)
def test_where_a_table_is_made_and_what_it_says_anyway_changes_no_name(tmp_path, arguments):
    selection = select(tmp_path, *arguments)
    assert (selection.changed, selection.name) == ((), "re-main-smoke")
    assert selection.title == "re/main at smoke scale"


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (("seeds=0",), ("seeds=0",)),
        (("seeds=[2,0,1]",), ("seeds=2,0,1",)),
        (("trainer.max_epochs=2",), ("trainer.max_epochs=2",)),
        (("evaluation.limit=20", "engine.workers=1", "seeds=3"), ("evaluation.limit=20", "seeds=3")),
        (("trainer.max_epochs=9", "trainer.max_epochs=2"), ("trainer.max_epochs=2",)),
        (("model=minilm_generator",), ("model=minilm_generator",)),
        ((ODD,), (ODD,)),
    ],
)
def test_what_changes_the_table_is_in_its_name_and_title(tmp_path, arguments, changed):
    selection = select(tmp_path, *arguments)
    assert selection.changed == changed and selection.name != "re-main-smoke"
    assert re.fullmatch(r"re-main-smoke-with-[A-Za-z0-9._-]+-[0-9a-f]{8}", selection.name) and len(selection.name) < 120
    assert all(text in selection.title for text in changed) and all(text in table(selection).title for text in changed)


def test_the_order_of_the_changes_makes_no_other_table_and_another_value_does(tmp_path):
    texts = ("trainer.max_epochs=2", "evaluation.limit=20", "seeds=3")
    names = {select(tmp_path, *order).name for order in itertools.permutations(texts)}
    others = {select(tmp_path, *texts[:2], "seeds=4").name, select(tmp_path, texts[0], "evaluation.limit=2").name}
    assert len(names) == 1 and len(names | others) == 3


def test_a_changed_table_leaves_the_plain_one_alone(tmp_path, capsys):
    outputs = f"paths.outputs={tmp_path}"
    finish(select(tmp_path))
    assert cli.main(["table", *PLAIN, outputs]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "sweeps" / "re-main-smoke").iterdir()}
    for arguments in (("seeds=0",), ("evaluation.limit=20",)):
        finish(select(tmp_path, *arguments))
        assert cli.main(["table", *PLAIN, outputs, *arguments]) == 0
        folder = tmp_path / "sweeps" / select(tmp_path, *arguments).name
        assert f"with {arguments[0]}".replace("_", r"\_") in (folder / "table.md").read_text().splitlines()[0]
        assert json.loads((folder / "receipt.json").read_text())["changed"] == list(arguments)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((tmp_path / "sweeps").iterdir())) == 3
    capsys.readouterr()
    verify_outputs(tmp_path)
    assert "table re-main" not in capsys.readouterr().err  # the runs are made up; the tables follow from them


def test_a_row_whose_own_setting_is_overruled_says_so_and_keeps_its_claims(tmp_path, capsys):
    plain, selection = select(tmp_path), select(tmp_path, "retriever=bm25")
    finish(selection)
    rows = [cell.row for cell in selection.cells]
    overruled = "Fine-tuned, retrieval-augmented [retriever=bm25]"
    assert overruled in rows and "Fine-tuned, simple" in rows and len(set(rows)) == len({c.row for c in plain.cells})
    made = table(selection)
    (claim,) = [result.claim for result in made.claims if result.claim.id == "retrieval_helps_tuned"]
    assert (claim.left, claim.right) == (overruled, "Fine-tuned, simple")
    assert {claim.claim.id for claim in made.claims} == {claim.claim.id for claim in table(plain).claims}
    for command in (["plan"], ["plan", "--cells"], ["status"]):  # brackets are no markup there
        assert cli.main([*command, *PLAIN, f"paths.outputs={tmp_path}", "retriever=bm25", "data.labels=[a,b]"]) == 0
        shown = "".join(capsys.readouterr().out.replace("│", " ").split())
        assert "data.labels=[a,b]" in shown and "[retriever" in shown
    # The same value again overrules nothing.
    assert {cell.row for cell in select(tmp_path, "retriever=sbert").cells} >= {"Fine-tuned, retrieval-augmented"}


def test_no_published_number_is_subtracted_from_a_row_under_other_settings(tmp_path):
    def compared(*arguments):
        selection = cli.select(["sweep=re/main", f"paths.outputs={tmp_path}", *arguments])
        finish(selection)
        cells = [cell for row in table(selection).cells for cell in row if cell.published]
        return {(cell.row, cell.column) for cell in cells if cell.difference is not None}, cells

    plain, _ = compared()
    other, cells = compared("evaluation.limit=300")
    assert plain and not other and all("evaluation.limit=300" in cell.published.note for cell in cells)
    assert compared("seeds=0")[0] == plain


@pytest.mark.parametrize(
    "arguments",
    [(), ("seeds=3,5",), ("evaluation.limit=20", "engine.workers=1"), (ODD, "seeds=0"), ("--accept-code-drift",)],
)
def test_the_command_pasted_into_a_shell_makes_that_table(tmp_path, arguments):
    outputs = tmp_path / "it's $HOME"
    quoted = "'" + str(outputs).replace("'", r"\'") + "'"
    wanted = cli.select([*PLAIN, f"paths.outputs={quoted}", *arguments])
    command = receipt_of(wanted)["command"]
    for narrow in (40, 100):
        shown = render(table(wanted), "terminal", width=narrow)
        assert f"To make it: {command}" in shown.splitlines()
    script = "papergrid() { printf '%s\\0' \"$@\"; }\n" + command.replace(".venv/bin/papergrid", "papergrid", 1)
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    assert words == shlex.split(command)[1:] and words[0] == "sweep"
    again = cli.select(words[1:])
    assert [cell.signature for cell in again.cells] == [cell.signature for cell in wanted.cells]
    assert (again.name, again.ledger.outputs) == (wanted.name, wanted.ledger.outputs) == (wanted.name, outputs)
    assert again.request.flags == wanted.request.flags
