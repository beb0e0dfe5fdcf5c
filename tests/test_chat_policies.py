"""The chain of the paper's scale with a small random model: SFT, preferences, responses, a judge; and its configs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from sweeps.planning import plan
from sweeps.run import Job, execute

SMALL = (
    "scale=smoke",
    "experiment=chat_policies",
    "logger=none",
    "model=tiny_llama",
    "model@base.model=tiny_llama",
    "model@base.base.model=tiny_llama",
    "base.data.hub=null",
    "base.data.files={train: pairs.jsonl}",
    "base.data.batch_size=2",
    "base.base.data.hub=null",
    "base.base.data.files={train: talks.jsonl}",
    "base.base.data.batch_size=2",
    "base.trainer.precision=32-true",
    "base.base.trainer.precision=32-true",
    "data.files={test: eval.json}",
    "evaluation.max_tokens=4",
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    user, answer = {"role": "user", "content": "Say a word."}, {"role": "assistant", "content": "Word."}
    lines = {
        "talks.jsonl": [{"messages": [user, answer]} for _ in range(4)],
        "pairs.jsonl": [
            {"prompt": "Say a word.", "chosen": [user, answer], "rejected": [user, {**answer, "content": f"No {n}."}]}
            for n in range(4)
        ],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    questions = [{"instruction": f"Question {number}?", "output": "An answer."} for number in range(5)]
    (tmp_path / "eval.json").write_text(json.dumps(questions))
    return tmp_path


class Stub(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        data = json.dumps({"choices": [{"message": {"content": "m"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def run(folder, *overrides):
    cell = plan.Planner().cell((*SMALL, *overrides))
    assert execute(Job.of(cell, folder)) == 0, (folder / "runs" / cell.signature / "failed.json").read_text()
    found = folder / "runs" / cell.signature
    return pd.read_parquet(found / "examples.parquet"), json.loads((found / "summary.json").read_text())


def test_the_chain_writes_responses_and_a_judge_compares_them(files, address):
    outputs = files / "outputs"
    frame, scores = run(outputs)
    assert len(frame) == 5 and not {"win_rate", "lc_win_rate"} & set(scores)
    judged, scores = run(outputs, f"data.judge.address={address}")
    assert judged["response"].tolist() == frame["response"].tolist()
    assert {"win_rate", "lc_win_rate", "response_tokens"} <= set(scores)
    assert len(list((outputs / "stages" / "training").glob("*/stage.json"))) == 2


@pytest.mark.parametrize(
    ("experiment", "weights"),
    [("chat_policies", "meta-llama/Meta-Llama-3-8B"), ("chat_policies_mistral", "mistralai/Mistral-7B-v0.1")],
)
def test_every_link_of_the_chain_is_the_same_model_at_its_own_rate(experiment, weights):
    config, _ = plan.resolve(plan.Composer().compose(("scale=paper", f"experiment={experiment}")))
    links = [config, config["base"], config["base"]["base"]]
    assert [link["model"]["weights"] for link in links] == [weights] * 3
    assert [link["method"]["model"]["weights"] for link in links] == [weights] * 3
    assert [link["model"]["optimiser"]["learning_rate"] for link in links[1:]] == [5e-7, 2e-5]
    assert [link["data"]["name"] for link in links] == ["alpaca_eval", "ultrafeedback_binarized", "ultrachat"]
    assert config["method"]["tune"] is False and config["data"]["judge"]["address"] is None
