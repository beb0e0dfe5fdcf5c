"""A judge behind a loopback endpoint: what it is asked, how replies are read, what is kept, what is never invented."""

import json
import math
from pathlib import Path

import pytest

from data.endpoints.judge import ChatJudge
from data.files.stages import TemporaryStages
from data.preferences.judged_set import JudgedSet
from data.records.texts import Completion
from tests.data.chat_stub import chat_endpoint


def letter(said, **shares):
    """A chat completion that says a letter, with the probabilities of some."""
    choice = {"message": {"role": "assistant", "content": said}}
    if shares:
        tokens = [{"token": name, "logprob": math.log(share)} for name, share in shares.items()]
        choice["logprobs"] = {"content": [{"token": said, "top_logprobs": tokens}]}
    return {"choices": [choice]}


@pytest.fixture
def endpoint(monkeypatch):
    with chat_endpoint(monkeypatch, letter("m")) as made:
        yield made


def judge_at(address, **options):
    return ChatJudge(**({"address": address, "model": "stub", "pause": 0.0, "attempts": 3} | options))


def likes(*words):
    """Prefers, surely, the answer with the first of the words that is in either."""

    def reply(body):
        first, second = body["messages"][0]["content"].split("Answer m:")[1].split("Answer M:")
        word = next(word for word in words if word in first + second)
        return 200, letter("m" if word in first else "M")

    return reply


def test_the_preferred_answer_wins_in_whatever_order_it_is_shown(endpoint):
    endpoint.reply = likes("good")
    judge = judge_at(endpoint.address)
    places = set()
    for number in range(12):
        assert judge.preference(f"q{number}", "good", "other") == 1.0
        assert judge.preference(f"q{number}", "other", "good") == 0.0
        text = endpoint.asked[-1][1]["messages"][0]["content"]
        places.add(text.index("good") < text.index("other"))
    assert places == {True, False}
    path, body = endpoint.asked[0]
    assert path == "/v1/chat/completions" and body["model"] == "stub" and body["temperature"] == 0.0


def test_log_probabilities_of_the_letters_give_a_share(endpoint):
    """0.6 for m and 0.2 for M, the rest for something else: 0.75 for whichever answer is shown as m."""
    endpoint.reply = lambda body: (200, letter("m", m=0.6, M=0.2, x=0.2))
    shares = {judge_at(endpoint.address).preference(f"q{number}", "a", "b") for number in range(12)}
    assert sorted(shares) == pytest.approx([0.25, 0.75])
    # Asked in both orders, a judge who always likes the first answer has no preference.
    assert judge_at(endpoint.address, both_orders=True).preference("q", "a", "b") == pytest.approx(0.5)


def test_texts_with_braces_are_shown_as_they_are(endpoint):
    judge_at(endpoint.address).preference("{first} {}", "{second}", "{instruction}")
    text = endpoint.asked[0][1]["messages"][0]["content"]
    assert all(text.count(part) == 1 for part in ("{first} {}", "{second}", "{instruction}"))


def test_the_key_is_taken_from_the_environment_and_sent_only_if_set(endpoint, monkeypatch):
    monkeypatch.delenv("STUB_KEY", raising=False)
    judge = judge_at(endpoint.address, key_variable="STUB_KEY")
    judge.preference("q", "a", "b")
    monkeypatch.setenv("STUB_KEY", "abc")
    judge.preference("q", "a", "b")
    assert endpoint.keys == [None, "Bearer abc"] and "abc" not in json.dumps(judge.identity)


def test_a_busy_endpoint_is_asked_again_and_a_refusing_one_is_not(endpoint):
    endpoint.reply = lambda body: (429, {}) if len(endpoint.asked) < 3 else (200, letter("m"))
    judge_at(endpoint.address).preference("q", "a", "b")
    assert len(endpoint.asked) == 3
    endpoint.asked.clear()
    endpoint.reply = lambda body: (401, {})
    with pytest.raises(ValueError, match=r"gave no answer after 1 tries \(status 401: {}\): check address, key"):
        judge_at(endpoint.address).preference("q", "a", "b")
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (letter("Both"), "was asked for m or M and said 'Both'"),
        ({"error": "x"}, "no chat completion"),
        (b"<html>", "gave no answer after 3 tries \\(Expecting value"),
    ],
)
def test_a_reply_that_is_no_judgement_ends_in_one_line(endpoint, content, said):
    endpoint.reply = lambda body: (200, content)
    with pytest.raises(ValueError, match=said) as caught:
        judge_at(endpoint.address).preference("q", "a", "b")
    assert "\n" not in str(caught.value)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    # A JSON list over several lines, as AlpacaEval's file is.
    content = [{"instruction": f"q{number}", "output": "base" * 3, "dataset": "d"} for number in range(6)]
    (tmp_path / "eval.json").write_text(json.dumps(content, indent=1))
    return {"test": "eval.json"}


def data_of(rows, judge):
    return JudgedSet(name="eval", files=rows, judge=judge, batch_size=1, seed=0)


def written():
    texts = ["good" * (1 + number) if number % 2 else "x" for number in range(6)]
    return [Completion(str(number), 0, text, len(text), True, -1.0) for number, text in enumerate(texts)]


def test_without_a_judge_no_win_is_reported(rows):
    data = data_of(rows, ChatJudge(address=None, model="none"))
    data.prepare(TemporaryStages())
    frame = data.frame(written())
    assert not {"win_rate", "lc_win_rate"} & set(frame.columns)
    assert frame["response_bytes"].tolist() == [1, 8, 1, 16, 1, 24] and set(frame["baseline_bytes"]) == {12}
    with pytest.raises(ValueError, match="there is no judge: give its address"):
        data.judge.preference("q", "a", "b")


def test_judgements_are_bought_once_and_an_interrupted_set_goes_on(rows, endpoint, tmp_path):
    class Partial:
        """Keeps what a killed builder left, as the sweep's stages do."""

        def get(self, kind, key, build):
            folder = tmp_path / "stage"
            folder.mkdir(exist_ok=True)
            build(folder)
            return folder

    endpoint.reply = lambda body: (500, {}) if len(endpoint.asked) > 3 else likes("good", "base")(body)
    data = data_of(rows, judge_at(endpoint.address, attempts=1))
    data.prepare(Partial())
    with pytest.raises(ValueError, match="status 500"):
        data.frame(written())
    kept = Path(tmp_path / "stage" / "judgements.jsonl")
    assert len(kept.read_text().splitlines()) == 3
    kept.write_text(kept.read_text() + "0.")
    endpoint.asked.clear()
    endpoint.reply = likes("good", "base")
    frame = data.frame(written())
    assert len(endpoint.asked) == 3 and frame["win_rate"].tolist() == [0.0, 1.0] * 3
    assert 0 <= frame["lc_win_rate"].mean() <= 1
    data.frame(written())
    assert len(endpoint.asked) == 3


def test_entry_checks(rows):
    with pytest.raises(ValueError, match="must be like http"):
        judge_at("localhost:8000")
    with pytest.raises(ValueError, match="at least 1 attempt"):
        judge_at("http://localhost:8000", attempts=0)
    with pytest.raises(ValueError, match="eval has no split 'train'"):
        data_of(rows, judge_at(None)).items("train")
    with pytest.raises(ValueError, match="the split test alone, got files for train"):
        data_of({"train": "x"}, judge_at(None))
