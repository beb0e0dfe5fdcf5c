"""The reward model as judge: rewards worked out by hand, what it reads to the letter, resume, refusals in one line."""

import math

import pytest

from data.endpoints.reward_model import RewardModel
from data.files.sources import DataNotFoundError
from data.files.stages import TemporaryStages
from sweeps.execution.stages import StageStore
from tests.data.tiny_reward_model import (
    byte_tokenizer,
    write_language_model,
    write_random_reward_model,
    write_reward_model,
)

BY_HAND = {"ba": 2.0, "ab": 4.0, "abc": -4.0, "abcd": -2.0}


def judge(folder, **options):
    return RewardModel(weights=str(folder), **{"weights_dtype": "float32", **options})


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    return write_reward_model(tmp_path_factory.mktemp("by_hand"))


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    return write_random_reward_model(tmp_path_factory.mktemp("random"))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rewards_are_those_worked_out_by_hand(by_hand, batch_size):
    texts = [("cab", response) for response in BY_HAND]
    found = judge(by_hand, batch_size=batch_size).rewards(TemporaryStages(), texts)
    assert found == pytest.approx(list(BY_HAND.values()), abs=1e-3)


@pytest.mark.parametrize("padding", ["<pad>", None, "e"])
def test_padding_changes_no_reward(tmp_path, padding):
    # An e: an id for padding that a text itself ends with.
    identifier = padding and byte_tokenizer().convert_tokens_to_ids(padding)
    folder = write_random_reward_model(tmp_path, pad_token_id=identifier)
    texts = [("why?", "because"), ("why?", "because of that, and for a hundred other reasons"), ("é", "no"), ("", "é")]
    alone, together = (judge(folder, batch_size=size).rewards(TemporaryStages(), texts) for size in (1, 4))
    assert alone == pytest.approx(together, abs=1e-5) and len({round(one, 4) for one in alone}) == 4


def test_the_conversation_is_set_by_the_tokenizers_own_template_with_one_start_token(by_hand):
    one = judge(by_hand)
    one.rewards(TemporaryStages(), [("hi", "a")])
    own = byte_tokenizer()
    assert one.ids("hi", "a") == [own.bos_token_id, *own.convert_tokens_to_ids(list("#hi=a"))]


def test_a_template_of_ones_own_replaces_it_and_texts_may_hold_braces(by_hand):
    own = byte_tokenizer()
    one = judge(by_hand, template="<s>Q:{prompt} A:{response}b")
    assert one.rewards(TemporaryStages(), [("hi", "a")]) == pytest.approx([4.0], abs=1e-3)
    assert own.decode(one.ids("{response}", "{prompt}")) == "<s>Q:{response} A:{prompt}b"


@pytest.mark.parametrize("template", [None, "<s>#{prompt}={response}"])
def test_text_that_looks_like_a_control_token_stays_text(by_hand, template):
    """An end in a response does not end it, and a start in a prompt begins nothing."""
    one, own = judge(by_hand, template=template), byte_tokenizer()
    assert one.rewards(TemporaryStages(), [("<s>", "a</s>b")]) == pytest.approx([4.0], abs=1e-3)
    letters = own.convert_tokens_to_ids(list("#<s>=a</s>b"))
    assert one.ids("<s>", "a</s>b") == [own.bos_token_id, *letters]


def test_a_conversation_over_the_length_is_marked_and_not_cut(by_hand):
    texts = [("why", "x" * 20 + "a"), ("why", "a")]
    long, short = judge(by_hand, max_tokens=10).rewards(TemporaryStages(), texts)
    assert math.isnan(long) and short == pytest.approx(2.0, abs=1e-3)
    # The model itself reads 512.
    assert math.isnan(judge(by_hand).rewards(TemporaryStages(), [("why", "x" * 600)])[0])


def test_rewards_follow_their_texts_and_are_a_stage_whatever_the_order(random, monkeypatch):
    stages, texts = TemporaryStages(), [("p", "one"), ("p", "two"), ("q", "one"), ("p", "one")]
    first = judge(random).rewards(stages, texts)
    monkeypatch.setattr(RewardModel, "_load", lambda *args: pytest.fail("the model was loaded again"))
    assert judge(random, batch_size=2).rewards(stages, texts[::-1]) == first[::-1]
    assert first[0] == first[3] and len(set(first)) == 3
    for other in ({"template": "{prompt}{response}"}, {"max_tokens": 100}, {"weights_dtype": "bfloat16"}):
        with pytest.raises(pytest.fail.Exception):
            judge(random, **other).rewards(stages, texts)


def test_interrupted_scoring_goes_on_from_the_last_whole_shard(random, tmp_path, monkeypatch):
    monkeypatch.setattr("data.endpoints.reward_model.SHARD", 2)
    texts = [("p", "x" * length) for length in range(1, 8)]
    paid, scored = RewardModel._paid, []

    def fatal(self, model, part):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(len(part))
        return paid(self, model, part)

    monkeypatch.setattr(RewardModel, "_paid", fatal)
    with pytest.raises(KeyboardInterrupt):
        judge(random).rewards(StageStore(tmp_path), texts)
    again, told = [], []
    monkeypatch.setattr(RewardModel, "_paid", lambda *args: again.append(len(args[2])) or paid(*args))
    found = judge(random).rewards(StageStore(tmp_path), texts, lambda *done: told.append(done))
    assert (scored, again, told) == ([2, 2], [2, 1], [(6, 7), (7, 7)])
    assert found == pytest.approx(judge(random).rewards(TemporaryStages(), texts), abs=1e-6)


def test_weights_without_a_reward_head_are_refused(tmp_path):
    folder = write_language_model(tmp_path)
    with pytest.raises(ValueError, match=r"no head of one logit \(score.weight would be drawn at random\)"):
        judge(folder).rewards(TemporaryStages(), [("p", "x")])


def test_a_head_of_several_logits_is_refused(tmp_path):
    folder = write_random_reward_model(tmp_path, num_labels=3)
    with pytest.raises(ValueError, match="no head of one logit"):
        judge(folder).rewards(TemporaryStages(), [("p", "x")])


def test_a_reward_that_is_not_finite_is_refused_with_its_text(tmp_path):
    import torch
    from transformers import LlamaForSequenceClassification

    folder = write_reward_model(tmp_path)
    model = LlamaForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.score.weight.fill_(math.inf)
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"pays 'xa' inf, which is not finite: .*judge.weights_dtype=float32"):
        judge(folder).rewards(TemporaryStages(), [("p", "xa")])


def test_a_tokenizer_without_a_chat_template_needs_one(tmp_path):
    folder = write_reward_model(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"brings no chat template: give judge.template"):
        judge(folder).rewards(TemporaryStages(), [("p", "a")])
    found = judge(folder, template="{prompt}:{response}").rewards(TemporaryStages(), [("p", "a")])
    assert found == pytest.approx([2.0], abs=1e-3)


def test_weights_that_are_not_here_are_no_download(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataNotFoundError, match=r"hf download some/judge --revision abc"):
        RewardModel(weights="some/judge", revision="abc").rewards(TemporaryStages(), [("p", "x")])


def test_a_gpu_that_is_not_there_is_refused(by_hand, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"judge.device is cuda:1 and there is no GPU here"):
        judge(by_hand, device="cuda:1").rewards(TemporaryStages(), [("p", "x")])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "{response}{prompt}"}, r"judge\.template must hold \{prompt\} and then \{response\}"),
        ({"template": "{prompt}"}, r"judge\.template"),
        ({"batch_size": 0}, r"judge\.batch_size must be at least 1, got 0"),
        ({"max_tokens": 0}, r"judge\.max_tokens"),
        ({"weights_dtype": "int4"}, r"judge\.weights_dtype must be one of float32, bfloat16, float16, got 'int4'"),
        ({"device": "gpu"}, r"judge\.device"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RewardModel(weights="some/judge", **options)
