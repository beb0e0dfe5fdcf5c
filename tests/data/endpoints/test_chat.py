"""A reply without a text is an error for whoever asks, never an empty answer."""

import pytest

from data.endpoints.chat import read_reply
from data.endpoints.judge import ChatJudge
from data.endpoints.teacher import CUT, ChatTeacher
from data.records.passages import Passage, RagExample
from data.records.readings import ReadingItem
from lightning_modules.rag.rag_endpoint import RagEndpoint
from tests.data.chat_stub import chat_endpoint


def completion(finish="stop", **message):
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}]}


CALL = [{"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}]
NO_ANSWER = {
    "null": (completion(content=None), "content is null, wanted a text"),
    "null and cut": (completion("length", content=None), "content is null.*raise max_tokens"),
    "cut before the first letter": (completion("length", content=""), "before its first letter.*raise max_tokens"),
    "thought only": (completion("length", content=None, reasoning_content="Hmm"), "content is null.*raise max_tokens"),
    "refusal": (completion(content=None, refusal="I will not."), "a refusal came in place.*I will not"),
    "refusal beside a text": (completion(content="", refusal="no"), "a refusal came in place"),
    "call of a tool": (completion("tool_calls", content=None, tool_calls=CALL), "call of a tool came in place"),
    "call without a content": (completion("tool_calls", tool_calls=CALL), "call of a tool came in place"),
    "old call": (completion("function_call", content=None, function_call={"name": "f"}), "call of a tool"),
    "filter": (completion("content_filter", content=""), "a filter took the answer away"),
    "number": (completion(content=5), "content is 5, wanted a text"),
    "no parts": (completion(content=[]), r"content is \[\], wanted a text|content is null"),
    "picture": (completion(content=[{"type": "image_url", "image_url": {}}]), "wanted a text"),
    "no content": (completion(), "no chat completion.*without choices"),
    "no message": ({"choices": [{"finish_reason": "stop"}]}, "no chat completion.*without choices"),
    "null message": ({"choices": [{"message": None}]}, "no chat completion.*without choices"),
    "no choice": ({"choices": []}, "no chat completion.*without choices"),
    "null choices": ({"choices": None}, "no chat completion.*without choices"),
    "null choice": ({"choices": [None]}, "no chat completion.*without choices"),
    "error with status 200": ({"error": {"message": "overloaded"}}, "no chat completion.*overloaded"),
    "list": ([], "no chat completion.*without choices"),
    "null reply": (None, "no chat completion.*without choices"),
    "text": ("London", "no chat completion.*without choices"),
}


class Data:
    def items(self, split, limit=None):
        return [ReadingItem("q", "Where?", "")]


def judge(address):
    return ChatJudge(address=address, model="stub", pause=0.0).preference("q", "a", "b")


def teacher(address):
    return ChatTeacher(address=address, model="stub", pause=0.0).reply("prompt", "answer")


def reader(address):
    made = RagEndpoint(address=address, served="stub", max_tokens=9, wait=0.0)
    made.attach(Data())
    return made.predict(Data(), split="test")


@pytest.fixture
def endpoint(monkeypatch):
    with chat_endpoint(monkeypatch, completion(content="m")) as made:
        yield made


@pytest.mark.parametrize("name", NO_ANSWER)
@pytest.mark.parametrize("ask", [judge, teacher, reader])
def test_a_reply_without_a_text_is_an_error(endpoint, ask, name):
    reply, said = NO_ANSWER[name]
    endpoint.reply = lambda body: (200, reply)
    with pytest.raises(ValueError, match=said) as caught:
        ask(endpoint.address)
    told = str(caught.value)
    assert "\n" not in told and endpoint.address in told and len(told) < 500


def test_a_judge_is_not_asked_by_the_log_probabilities_of_no_text(endpoint):
    reply = completion(content=None)
    reply["choices"][0]["logprobs"] = {"content": [{"token": "m", "top_logprobs": [{"token": "m", "logprob": -0.1}]}]}
    endpoint.reply = lambda body: (200, reply)
    with pytest.raises(ValueError, match="content is null"):
        judge(endpoint.address)


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": [{}]}, {"content": [{"top_logprobs": [{"token": "m"}]}]}]
)
def test_a_judge_without_log_probabilities_is_taken_by_its_letter(endpoint, logprobs):
    reply = completion("length", content="m")
    reply["choices"][0]["logprobs"] = logprobs
    endpoint.reply = lambda body: (200, reply)
    assert judge(endpoint.address) in (0.0, 1.0)


def test_texts_are_read_whole_or_in_parts_and_an_empty_text_is_a_text():
    assert read_reply(completion(content="a b")).text == "a b"
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    assert read_reply(completion(content=parts)).text == "a b"
    assert read_reply(completion(content="")).text == ""
    assert read_reply(completion(content="a", refusal=None, tool_calls=[])).text == "a"


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": None}, {"completion_tokens": "7"}])
def test_a_reader_counts_words_where_the_endpoint_counts_nothing(endpoint, usage):
    endpoint.reply = lambda body: (200, {**completion(content="a b c"), "usage": usage})
    (found,) = reader(endpoint.address)
    assert found.tokens == 3 and found.finished


def test_what_is_cut_is_not_finished_and_no_label(endpoint):
    endpoint.reply = lambda body: (200, completion("length", content="Relevant: none. It is"))
    (found,) = reader(endpoint.address)
    assert found.response == "Relevant: none. It is" and not found.finished
    cut = teacher(endpoint.address)
    assert cut.endswith(CUT)
    example = RagExample("q", "Where?", ("London",), ("a",), (Passage("b", "", "Ada wrote."),))
    made = ChatTeacher(address=None, model="stub")
    assert made.label(cut, example) == ("", "cut at max_tokens")
    assert made.label(cut.removesuffix(CUT), example)[1] == ""
