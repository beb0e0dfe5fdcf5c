"""Our numbers against the output of SemEval-2010 Task 8's own Perl scorer on its three sample pairs."""

import re

import pandas as pd
import pytest

from data.files.sources import locate
from data.scoring.registry import all_scores
from data.scoring.relations import confusion, relation_of
from tests.data.scoring.semeval_report import semeval_sections

SCORES = all_scores()

SECTIONS = {"directed": "(2*9+1)-WAY", "undirected": "IGNORING DIRECTIONALITY", "official": "OFFICIAL"}
NUMBER = r"\s*([\d.]+)%"


def answers(path):
    return dict(line.split() for line in path.read_text().splitlines() if line.strip())


@pytest.fixture(params=[1, 2, 3])
def sample(request, needs_file):
    """(examples as a frame, {section: printed text}, whole printed text) of one sample pair."""
    folder = locate(needs_file("re/semeval2010_task8/scorer_samples/answer_key1.txt")).parent
    key = answers(folder / f"answer_key{request.param}.txt")
    proposed = answers(folder / f"proposed_answer{request.param}.txt")
    assert set(proposed) <= set(key)
    frame = pd.DataFrame({"gold": key.values(), "prediction": [proposed.get(name, "") for name in key]})
    printed = (folder / f"result_scores{request.param}.txt").read_text()
    parts = re.split(r"(?=<<< \()", printed)
    texts = {name: next(part for part in parts if mark in part.split("\n")[0]) for name, mark in SECTIONS.items()}
    return frame, texts, printed


def percent(value):
    return f"{100 * value:.2f}"


@pytest.mark.parametrize("section", list(SECTIONS))
def test_every_printed_class_average_and_accuracy_is_equal(sample, section):
    frame, texts, _ = sample
    ours, text = semeval_sections(frame)[section], texts[section]
    lines = re.findall(rf"^ *(\S+) :    P =.*?={NUMBER} +R =.*?={NUMBER} +F1 ={NUMBER}$", text, re.MULTILINE)
    printed = {name.replace("_Other", "Other"): tuple(values) for name, *values in lines}
    table = ours.classes
    assert printed == {
        name: (percent(row.precision), percent(row.recall), percent(row.f1))
        for name, row in zip(table.index, table.itertuples(), strict=True)
    }
    micro = re.search(rf"Micro-averaged.*?\nP =.*?={NUMBER} +R =.*?={NUMBER} +F1 ={NUMBER}", text)
    macro = re.search(rf"MACRO-averaged.*?\nP ={NUMBER}\tR ={NUMBER}\tF1 ={NUMBER}", text)
    assert micro.groups() == tuple(map(percent, ours.micro))
    assert macro.groups() == tuple(map(percent, ours.macro))
    assert re.search(rf"Coverage = .* ={NUMBER}", text)[1] == percent(ours.coverage)
    shares = re.findall(rf"^Accuracy .* ={NUMBER}$", text, re.MULTILINE)
    assert shares == [percent(share) for share in ours[-3:]]


def test_the_registered_score_is_the_official_one_to_the_last_printed_digit(sample):
    frame, _, printed = sample
    official = re.search(rf"The official score is .* macro-averaged F1 ={NUMBER} >>>", printed)[1]
    assert percent(SCORES["macro_f1"].of(frame)) == official
    assert SCORES["macro_f1"].of(frame) == pytest.approx(semeval_sections(frame)["official"].macro[2], abs=1e-14)
    assert SCORES["accuracy"].of(frame) == semeval_sections(frame)["official"].accuracy_skipped_wrong


def test_the_printed_confusion_matrix_without_direction_is_equal(sample):
    frame, texts, _ = sample
    plain = frame.map(relation_of)
    names = sorted(set(plain.gold) | (set(plain.prediction) - {""}), key=lambda name: (name == "Other", name))
    ours = confusion(plain, names)
    codes = {("_O_" if name == "Other" else "-".join(word[0] for word in name.split("-"))): name for name in names}
    matrix = re.search(r"Confusion matrix:\n(.*?)\n +\+-+\+\n -SUM-", texts["undirected"], re.DOTALL)[1]
    header, *rows = matrix.split("\n")
    columns = [codes[code if code[0] != "*" else f"{code[1]}-{code[2]}"] for code in header.split("<--")[0].split()]
    assert len(rows) > 1
    for row in rows[1:]:
        code, counts, margins = re.fullmatch(r" *(\S+) \|([ \d]+)\| *(.*)", row).groups()
        assert [int(count) for count in counts.split()] == ours.loc[codes[code], columns].tolist()
        row_counts = ours.loc[codes[code]]
        assert [int(count) for count in margins.split()][1:] == [row_counts.iloc[-1], row_counts.sum()]
