"""The endpoint reader against a server on this machine: what it sends, what it makes of answers, and how it fails."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.records.readings import ReadingItem
from lightning_modules.rag.rag_endpoint import RagEndpoint

ITEMS = [ReadingItem(f"q{n}", f"Question {n}?", "") for n in range(5)]


class Data:
    def items(self, split, limit=None):
        return ITEMS[:limit]


class Stub(ThreadingHTTPServer):
    """Answers from a list of (status, body); then says the prompt backwards."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.keys, self.scripted = [], [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        self.server.keys.append(self.headers["Authorization"])
        said = body["messages"][0]["content"][::-1]
        full = {
            "choices": [{"message": {"content": said}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 7},
        }
        status, answer = self.server.scripted.pop(0) if self.server.scripted else (200, json.dumps(full))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def reader(stub, **changes):
    settings = {"served": "small", "max_tokens": 9, "wait": 0.0, "timeout": 5.0}
    return RagEndpoint(**{"address": f"http://127.0.0.1:{stub.server_port}/v1", **settings, **changes})


def predict(method, **more):
    method.attach(Data())
    return method.predict(Data(), split="test", **more)


def test_every_prompt_is_asked_once_and_answers_come_in_order(stub):
    counted = []
    found = predict(reader(stub, parallel=3), progress=lambda done, total: counted.append((done, total)))
    assert [one.response for one in found] == [item.prompt[::-1] for item in ITEMS]
    assert [one.example_id for one in found] == [item.id for item in ITEMS] and counted[-1] == (5, 5)
    assert all(one.tokens == 7 and one.finished for one in found)
    path, body = stub.asked[0]
    assert path == "/v1/chat/completions" and stub.keys == [None] * 5
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("small", 9, 0.0)
    assert len(predict(reader(stub), limit=2)) == 2


def test_a_busy_endpoint_is_asked_again(stub):
    stub.scripted = [(503, "busy"), (429, "slow down")]
    assert len(predict(reader(stub, parallel=1))) == 5 and len(stub.asked) == 7


@pytest.mark.parametrize(
    ("scripted", "tries", "said"),
    [
        ([(503, "busy")] * 3, 3, r"3 tries \(status 503: busy\)"),
        ([(400, "prompt too long")], 1, "status 400: prompt too long"),
        ([(200, "no json")] * 3, 3, "gave no answer"),
        ([(200, '{"choices": []}')], 1, "without choices"),
        ([(200, "[]")], 1, "without choices"),
    ],
)
def test_what_is_no_answer_ends_the_cell_and_is_never_scored(stub, scripted, tries, said):
    stub.scripted = list(scripted)
    with pytest.raises(ValueError, match=said):
        predict(reader(stub, parallel=1, retries=2), limit=1)
    assert len(stub.asked) == tries


def test_a_cut_answer_is_not_finished(stub):
    stub.scripted = [(200, '{"choices": [{"message": {"content": "a b c"}, "finish_reason": "length"}]}')]
    (found,) = predict(reader(stub), limit=1)
    assert not found.finished and found.tokens == 3


def test_nobody_listening(stub):
    method = reader(stub, address="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(ValueError, match="2 tries"):
        predict(method, limit=1)


def test_it_is_off_without_an_address_and_careful_with_a_key(stub, monkeypatch):
    with pytest.raises(ValueError, match=r"method\.address"):
        predict(reader(stub, address=None))
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ValueError, match="SOME_KEY"):
        predict(reader(stub, key_variable="SOME_KEY"))
    monkeypatch.setenv("SOME_KEY", "secret")
    predict(reader(stub, key_variable="SOME_KEY"), limit=1)
    assert stub.keys == ["Bearer secret"]
    for wrong in ({"address": "http://example.org/v1", "key_variable": "SOME_KEY"}, {"address": "example.org"}):
        with pytest.raises(ValueError, match=r"is not encrypted|must be like http"):
            reader(stub, **wrong)
    with pytest.raises(ValueError, match="max_tokens"):
        reader(stub, max_tokens=0)
