"""Labels of a teacher: what it is asked, which replies are labels, what is kept, how reasoned responses are judged."""

import json
import math

import pytest

from data.endpoints.teacher import ChatTeacher, citation_scores, read_reasoning
from data.files.sources import digest_of
from data.rag.order import OriginalOrder
from data.rag.question_rag import QuestionPlan, QuestionPrompt, QuestionRag, judged_text
from data.rag.question_sets import QuestionSet
from data.rag.showing import Context
from data.records.passages import Passage, RagExample
from tests.data.chat_stub import chat_endpoint

PASSAGES = (
    Passage("a", "", "Ada was born in London."),
    Passage("b", "", "Ada wrote programs."),
    Passage("c", "", "The city of London lies on the Thames."),
)
EXAMPLE = RagExample("q", "Where was Ada born?", ("London",), ("a",), PASSAGES)


def said(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def endpoint(monkeypatch):
    with chat_endpoint(monkeypatch, said("Relevant: none. It stands nowhere.")) as made:
        yield made


def teacher_at(address, **options):
    return ChatTeacher(**({"address": address, "model": "stub", "pause": 0.0, "attempts": 2} | options))


@pytest.mark.parametrize(
    ("response", "cited", "why", "answer"),
    [
        ("Relevant: [3], [17]. Both say so.\nAnswer: London", (3, 17), "Both say so.", "London"),
        ("relevant: 2 and [1]\nbecause\nAnswer: no\nAnswer:  yes \nmore", (2, 1), "because Answer: no", "yes"),
        ("Relevant: none. Nothing helps.\nAnswer: blue", (), "Nothing helps.", "blue"),
        ("Relevant: [1]. 17 people say so.", (1,), "17 people say so.", None),
        ("London", None, "London", None),
        ("Relevant: [2], [2].\nAnswer:", (2,), "", ""),
    ],
)
def test_reasoned_responses_are_read_part_by_part(response, cited, why, answer):
    assert read_reasoning(response) == (cited, why, answer)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("It is London.", "no list of passages"),
        ("Relevant: [4]. So.", "a number without a passage"),
        ("Relevant: [0]. So.", "a number without a passage"),
        ("Relevant: [1], [2]. So.", "a passage without support"),
        ("Relevant: none. So.", "gold not seen"),
        ("Relevant: [1]. So.\nAnswer: Paris", "another answer"),
        ("Relevant: [1]. So.", "another answer"),
    ],
)
def test_labels_without_support_or_with_another_answer_are_rejected(reply, fault):
    assert teacher_at(None, sees_answer=False).label(reply, EXAMPLE) == ("", fault)


def test_a_label_ends_with_the_accepted_answer_and_cites_what_supports_it():
    # The third passage is not gold and holds the answer: support enough.
    told = teacher_at(None).label("Relevant: [1], [3]. The first names the\ncity.\nAnswer: in London town", EXAMPLE)
    assert told == ("Relevant: [1], [3]. The first names the city.\nAnswer: London", "")
    without = RagExample("q", EXAMPLE.question, EXAMPLE.answers, ("a",), PASSAGES[1:2])
    assert teacher_at(None).label("Relevant: none. Nothing.", without) == (
        "Relevant: none. Nothing.\nAnswer: London",
        "",
    )


def test_citations_are_scored_against_the_gold_passages_that_were_shown():
    assert citation_scores((1, 3), EXAMPLE) == (0.5, 1.0)
    assert citation_scores((2, 9), EXAMPLE) == (0.0, 0.0)
    assert all(map(math.isnan, (citation_scores((), EXAMPLE)[0], citation_scores(None, EXAMPLE)[0])))
    assert citation_scores(None, EXAMPLE)[1] == 0.0
    row = judged_text("Relevant: [1]. So.\nAnswer: London", Context(EXAMPLE, 0, False), reasoned=True)
    assert (row["answer_contained"], row["citation_precision"], row["citation_recall"]) == (1.0, 1.0, 1.0)
    row = judged_text("London", Context(EXAMPLE, 0, False), reasoned=True)
    assert row["answer_contained"] == 1.0 and math.isnan(row["citation_precision"])
    # A plain reader is judged by its first line as ever.
    assert "citation_recall" not in judged_text("London", Context(EXAMPLE, 0, False))


def test_the_teacher_is_told_the_answer_only_where_it_may_see_it(endpoint):
    braces = "Passages {shown} with {answer}.\nQuestion: who?"
    for sees in (True, False):
        teacher_at(endpoint.address, sees_answer=sees).reply(braces, "{prompt} Ada")
    (path, told), (_, untold) = endpoint.asked
    assert path == "/v1/chat/completions" and told["temperature"] == 0.0 and told["model"] == "stub"
    first, second = (body["messages"][0]["content"] for body in (told, untold))
    assert first.startswith(braces) and second.startswith(braces)
    assert "The accepted answer is: {prompt} Ada" in first and "accepted answer" not in second


def test_without_an_address_or_with_another_reply_there_is_one_line(endpoint):
    with pytest.raises(ValueError, match=r"data\.teacher\.address"):
        teacher_at(None).reply("p", "a")
    endpoint.reply = lambda body: (200, {"choices": []})
    with pytest.raises(ValueError, match="no chat completion"):
        teacher_at(endpoint.address).reply("p", "a")
    with pytest.raises(ValueError, match="max_tokens"):
        teacher_at(None, max_tokens=0)


def questions(teacher):
    files = {split: f"samples:questions_{split}.jsonl" for split in ("train", "test")}
    asked = QuestionSet(name="samples", reader="paragraphs", files=files)
    prompt = QuestionPrompt(
        instruction="", passage="[{number}] {text}", untitled="[{number}] {text}", question="Q: {question}"
    )
    train = QuestionPlan(asked=asked, split="train", order=OriginalOrder(), k=4)
    test = QuestionPlan(asked=asked, order=OriginalOrder(), k=4)
    return QuestionRag(name="s", train=train, test=test, prompt=prompt, batch_size=4, seed=0, teacher=teacher)


class Kept:
    """Keeps what a killed builder left, as the sweep's stages do."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, kind, key, build):
        folder = self.folder / digest_of([kind, key])
        folder.mkdir(exist_ok=True)
        build(folder)
        return folder


def test_labels_are_a_stage_that_goes_on_and_rejected_ones_are_counted(endpoint, tmp_path):
    stages = Kept(tmp_path)
    plain = questions(None)
    plain.prepare(stages)
    examples = [one.example for one in plain.contexts("train")]
    gold = {
        plain.prompt(one.question, one.passages): 1 + [p.id in one.gold for p in one.passages].index(True)
        for one in examples
    }

    def reply(body):
        asked = body["messages"][0]["content"]
        number = next(number for prompt, number in gold.items() if asked.startswith(prompt))
        if len(endpoint.asked) == 4:
            return 400, {"error": "gone"}
        return 200, said("I do not know." if number == 1 else f"Relevant: [{number}]. It says so.")

    endpoint.reply = reply
    taught = questions(teacher_at(endpoint.address))
    taught.prepare(stages)
    with pytest.raises(ValueError, match="the teacher"):
        taught.items("train")
    items = taught.items("train")
    # Three replies were kept, the fourth was asked for again, and nothing else.
    assert len(endpoint.asked) == len(examples) + 1
    told = [body["messages"][0]["content"] for _, body in endpoint.asked]
    assert told[3] == told[4] and len(set(told)) == len(examples)
    first = sum(number == 1 for number in gold.values())
    assert taught.rejected == {"no list of passages": first} and 0 < first < len(examples)
    assert len(items) == len(examples) - first
    assert all(item.response.startswith("Relevant: [") and "\nAnswer: " in item.response for item in items)
    assert {item.response.rpartition("Answer: ")[2] for item in items} <= {one.answers[0] for one in examples}
    again = questions(teacher_at("http://127.0.0.1:9/v1"))
    again.prepare(stages)
    assert list(again.items("train")) == list(items)  # nothing is asked twice, wherever the model lives
    assert json.dumps(plain.items("train")[0].response) == json.dumps(examples[0].answers[0])


def test_a_teacher_whose_labels_are_all_rejected_ends_with_one_line(endpoint):
    taught = questions(teacher_at(endpoint.address))
    with pytest.raises(ValueError, match=r"no label that can be used \(gold not seen: 12\)"):
        taught.items("train")
