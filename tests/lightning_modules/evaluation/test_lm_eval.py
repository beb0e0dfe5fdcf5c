"""The harness's questions, asked of a policy of the world of sums: its numbers are the policy's own."""

import json

import pytest
import torch

from data.endpoints.lm_eval_tasks import LmEvalTasks
from lightning_modules.base import Optimiser
from lightning_modules.evaluation.lm_eval import LmEval
from lightning_modules.losses.logps import sequence_logps
from lightning_modules.networks.hub.chat_format import ChatFormat
from lightning_modules.networks.hub.pretrained import Pretrained
from lightning_modules.networks.token_batch import padded_batch
from tests.lightning_modules.chat_tokenizers import LOSSLESS, TEMPLATES, save_model
from tests.lightning_modules.tiny_world import SumData, sums, tiny_model

QUESTIONS = [
    {"question": one.prompt, "choices": [f"is {value}" for value in range(11)], "answer": int(one.response[3:])}
    for one in sums()[:12]
]
CHOICE = """task: sums_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
target_delimiter: ""
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
WRITTEN = """task: sums_written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "is {{{{answer}}}}"
generation_kwargs: {{until: ["="], max_gen_toks: 4, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


WORDS = ("is", *map(str, range(11)))


def policy(seed=0):
    """Random weights: what it answers is nonsense, but always the same."""
    torch.manual_seed(seed)
    method = LmEval(model=tiny_model(), seed=0, batch=5)
    method.network = tiny_model().build_language_model(SumData().vocabulary)
    return method


def test_scores_are_the_policys_own_log_probabilities():
    method = policy()
    texts = [
        ("1 + 2 =", "is 3"),
        ("4 =", "7"),
        ("0 + 0 =", "is 0"),
        ("1 + 2 =", "is"),
        ("2 =", "is 9"),
        ("3 + 1 =", "4"),
    ]
    codec = method.network.codec
    for (context, continuation), (total, greedy) in zip(texts, method.scored(texts), strict=True):
        prompt, answer = codec.prompt_ids([context]), [codec.response_ids([continuation])[0][:-1]]
        batch = padded_batch(prompt, answer, padding=codec.padding)
        with torch.no_grad():
            wanted = sequence_logps(*method.network.response_logps(batch)).sums
            logits = method.network.network.lm_head(method.network.response_states(batch))
        assert total == pytest.approx(float(wanted), abs=1e-4)
        assert greedy == (logits[0].argmax(-1).tolist() == answer[0])


PAIRS = [
    ("The river runs to", " the sea"),
    ("The river runs to ", "the sea"),
    ("What is it?\nAnswer:", " Paris"),
    ("What is it?\nAnswer:", "Paris"),
    ("What is it?\n\n", "Paris is in France."),
    ("a", "b"),
    ("", "the sea"),
]
"""Contexts and continuations, with white space on either side of the border."""


@pytest.mark.parametrize("maker", LOSSLESS)
def test_scores_are_those_of_the_harness_own_model(maker, tmp_path):
    """Its ``HFLM`` on the same weights: each pair encoded together, trailing white space moved to the continuation."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    tokenizer = LOSSLESS[maker]()
    save_model(tmp_path, tokenizer)
    model = Pretrained(
        kind="causal",
        weights=str(tmp_path),
        architecture={"model_type": "llama"},
        prompt_limit=200,
        prompt_wrapper="{prompt}",
        optimiser=Optimiser(learning_rate=1e-3),
    )
    method = LmEval(model=model, seed=0, batch=3)
    method.network = model.build_language_model().eval()
    theirs = HFLM(pretrained=AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer=tokenizer, batch_size=2)
    requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(PAIRS)]
    wanted = theirs.loglikelihood(requests, disable_tqdm=True)
    found = method.scored(PAIRS)
    assert [total for total, _ in found] == pytest.approx([total for total, _ in wanted], abs=1e-3)
    assert [same for _, same in found] == [same for _, same in wanted]
    for context, continuation in PAIRS[:-1]:
        wanted_ids = theirs._encode_pair(context, continuation)
        assert method.network.codec.continued(context, continuation) == tuple(wanted_ids)


def test_under_a_chat_template_a_continuation_is_scored_behind_what_opens_the_answer():
    tokenizer = LOSSLESS["llama2"](chat_template=TEMPLATES["chatml"])
    codec = ChatFormat(tokenizer)
    context, ids = codec.continued("What is it?", "Paris </s>")
    # The harness moves the line break at the end of its context as well.
    assert tokenizer.decode(context).rpartition("<|im_start|>")[2].strip() == "assistant"
    assert tokenizer.decode(ids) == "\nParis </s>" and tokenizer.eos_token_id not in ids
    assert context + ids[:1] == codec.prompt_ids(["What is it?"])[0]


def test_what_greedy_decoding_writes_is_greedy_and_stops_cut_it():
    contexts = [one.prompt for one in sums()]
    written = (
        (method, context, text)
        for method in map(policy, range(50))
        for context, text in zip(contexts, method.written(contexts, {"max_gen_toks": 3}), strict=True)
    )
    # Random weights may well begin with a token that is no word.
    method, context, whole = next(found for found in written if found[2].split(" ")[0] in WORDS)
    first = whole.split(" ")[0]
    assert method.scored([(context, first)])[0][1]
    assert not method.scored([(context, next(word for word in WORDS if word != first))])[0][1]
    assert method.written([context], {"max_gen_toks": 3, "until": [first]}) == [""]


def test_answers_of_another_filter_are_left_out_and_unknown_metrics_are_named():
    row = {"doc_id": 0, "filtered_resps": ["7"], "metrics": ["acc"]}
    samples = {"t": [{**row, "filter": "strict", "acc": 0.0}, {**row, "filter": "loose", "acc": 1.0}]}
    assert [one.score for one in LmEvalTasks(tasks=["t"], metric="acc").answers(samples)] == [0.0]
    (kept,) = LmEvalTasks(tasks=["t"], metric="acc", filter="loose").answers(samples)
    assert (kept.id, kept.task, kept.score) == ("t/0", "t", 1.0)
    with pytest.raises(ValueError, match="filters strict, loose"):
        LmEvalTasks(tasks=["t"], metric="acc", filter="none").answers(samples)
    with pytest.raises(ValueError, match=r"metrics acc, data\.metric is 'f1'"):
        LmEvalTasks(tasks=["t"], metric="f1").answers(samples)
    with pytest.raises(ValueError, match="no question"):
        LmEvalTasks(tasks=["t"], metric="acc").answers({})


@pytest.mark.parametrize(("text", "metric"), [(CHOICE, "acc"), (WRITTEN, "exact_match")])
def test_a_local_task_is_asked_by_the_harness(text, metric, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    task = text.format(path=tmp_path / "sums.jsonl")
    (tmp_path / "sums.yaml").write_text(task)
    name = task.splitlines()[0].partition(": ")[2]
    method = policy()
    data = LmEvalTasks(tasks=[name], metric=metric, include=str(tmp_path))
    frame = data.frame(method.predict(data, split="test", limit=8))
    assert len(frame) == 8 and set(frame["task"]) == {name}
    for row, question in zip(frame.itertuples(), QUESTIONS, strict=False):
        if metric == "acc":
            scores = [total for total, _ in method.scored([(question["question"], one) for one in question["choices"]])]
            wanted = scores.index(max(scores)) == question["answer"]
        else:
            wanted = method.written([question["question"]], {"until": ["="], "max_gen_toks": 4})[0] == (
                f"is {question['answer']}"
            )
        assert row.success == float(wanted)
    with pytest.raises(ValueError, match="nonsense, which the harness does not know"):
        method.predict(LmEvalTasks(tasks=["nonsense"], metric=metric), split="test")


def test_without_the_harness_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"\[lm_eval\]"):
        LmEval(model=tiny_model(), seed=0).attach(SumData())
