"""Scores of texts: a made-up model whose numbers can be worked out by hand, then the three real ones."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from data.files.llama2c import read_checkpoint, read_tokenizer
from data.files.sources import DataNotFoundError, locate
from data.files.stages import TemporaryStages
from lightning_modules.losses.infifpo import fuse_reference_logps
from lightning_modules.networks.hub.llama2c import PieceCodec
from lightning_modules.networks.hub.llama2c_network import Llama2c
from lightning_modules.preference import source_scores as scoring_sources
from lightning_modules.preference.source_scores import (
    ScoringPolicy,
    Source,
    SourceAlarmError,
    check_winners,
    encode_scored,
    score_texts,
    source_scores,
    within_budget,
)


class Letters:
    """Ids: 0 nothing, 1 start, 2 end, then bytes 3 + n, and one piece "ab" of two bytes. Prompts begin with a space."""

    pair = 259

    def encode(self, text):
        ids = []
        for byte in text.encode():
            joined = byte == ord("b") and ids and ids[-1] == ord("a") + 3
            ids[-1:] = [self.pair] if joined else [*ids[-1:], byte + 3]
        return ids

    def prompt_ids(self, texts):
        return [[1, *self.encode(f" {text}")] for text in texts]

    def response_ids(self, texts):
        return [[*self.encode(text), 2] for text in texts]

    def spelt(self, response):
        return response

    def pieces(self, ids):
        return [b"" if i < 3 else b"ab" if i == self.pair else bytes([i - 3]) for i in ids]


def uniform(ids):
    """Every piece 1/4 of the mass of its group: EOS has probability 1/2, the pair 1/4, the rest shares 1/4 alike."""
    probabilities = torch.full((260,), 0.25 / 258, dtype=torch.float64)
    probabilities[2], probabilities[259] = 0.5, 0.25
    return probabilities.log().expand(*ids.shape, 260)


def toy(network=uniform, name="toy", **settings):
    return Source(name, network, Letters(), **{"positions": 12, "identity": {"weights": "1"}, **settings})


OTHER = math.log(0.25 / 258)


def test_encoding_marks_the_response_and_nothing_else():
    """Prompt "x" is start, " ", "x"; then "ab", "c"."""
    ((ids, first),) = encode_scored(toy(), [("x", "abc")], ScoringPolicy())
    assert (ids, first) == ([1, 35, ord("x") + 3, 259, ord("c") + 3], 3)
    ((with_end, _),) = encode_scored(toy(), [("x", "abc")], ScoringPolicy(terminator="one"))
    assert with_end == [*ids, 2]


def test_a_response_without_tokens_is_refused():
    with pytest.raises(ValueError, match="toy spells the response '' as b''"):
        encode_scored(toy(), [("x", "")], ScoringPolicy())


def test_a_tokenizer_that_loses_text_is_found_out():
    class Trimming(Letters):
        def encode(self, text):
            return super().encode(text.strip())

    source = Source("trim", uniform, Trimming(), positions=12, identity={})
    with pytest.raises(ValueError, match="trim spells the response 'c ' as b'c'"):
        encode_scored(source, [("x", "c ")], ScoringPolicy())


def test_sums_tokens_and_bytes_by_hand():
    """ "abc": ab has log 1/4, c the rest's share. "é" is two bytes and two tokens. EOS adds log 1/2 and a token."""
    texts = [("x", "abc"), ("x", "é")]
    scores = score_texts(toy(), texts, ScoringPolicy())
    assert scores.sums.tolist() == pytest.approx([math.log(0.25) + OTHER, 2 * OTHER])
    assert scores.tokens.tolist() == [2, 2] and scores.bytes.tolist() == [3, 2]
    assert scores.sums.dtype == np.float64
    ended = score_texts(toy(), texts, ScoringPolicy(terminator="one"))
    assert (ended.sums - scores.sums).tolist() == pytest.approx([math.log(0.5)] * 2)
    assert ended.tokens.tolist() == [3, 3] and ended.bytes.tolist() == [3, 2]


def test_texts_over_budget_are_marked_counted_and_dropped_for_every_model():
    texts = [("x", "c" * 9), ("x", "c" * 10), ("x", "c" * 3)]
    short = score_texts(toy(positions=6), texts, ScoringPolicy())
    long = score_texts(toy(), texts, ScoringPolicy())
    assert np.isnan(long.sums).tolist() == [False, True, False]
    kept, counts = within_budget({"short": short, "long": long})
    assert kept.tolist() == [False, False, True] and counts == {"short": 2, "long": 1}


def test_a_score_that_is_not_finite_raises_an_alarm_with_the_name():
    def broken(ids):
        return torch.full((*ids.shape, 260), math.nan)

    with pytest.raises(SourceAlarmError, match="source toy gives 1 of 1 texts a score that is not finite"):
        score_texts(toy(broken), [("x", "abc")], ScoringPolicy())


def test_interrupted_scoring_goes_on_from_the_last_whole_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring_sources, "SHARD", 2)
    texts = [("x", "c" * length) for length in (1, 2, 3, 4, 5)]
    seen = []

    def counting(ids):
        seen.append(len(ids))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return uniform(ids)

    class Partial:
        """Keeps what a killed builder left, as the sweep's stages do."""

        def get(self, kind, key, build):
            folder = Path(tmp_path)
            build(folder)
            return folder

    with pytest.raises(KeyboardInterrupt):
        source_scores(Partial(), toy(counting), texts, ScoringPolicy())
    (tmp_path / "writing-1.part").write_bytes(b"cut")
    resumed = source_scores(Partial(), toy(counting), texts, ScoringPolicy())
    assert sum(seen[2:]) == 3, "the first shard is not scored again"
    assert np.array_equal(resumed.sums, score_texts(toy(), texts, ScoringPolicy()).sums)
    assert not list(tmp_path.glob("*.part"))


def test_every_part_of_the_key_names_other_scores():
    asked = []

    class Recording(TemporaryStages):
        def get(self, kind, key, build):
            asked.append(json.dumps(key, sort_keys=True))
            return super().get(kind, key, build)

    stages, texts, policy = Recording(), [("x", "abc")], ScoringPolicy()
    source_scores(stages, toy(), texts, policy)
    source_scores(stages, toy(name="other name"), texts, policy)
    assert asked[0] == asked[1], "a name is no part of the content"
    source_scores(stages, toy(identity={"weights": "2"}), texts, policy)
    source_scores(stages, toy(), texts, ScoringPolicy(terminator="one"))
    source_scores(stages, toy(), [("xa", "bc")], policy)
    assert len(set(asked)) == 4


def test_a_source_that_wins_too_much_raises_an_alarm_with_its_name():
    init = torch.full((4,), -1.0), torch.full((4,), -1.0)
    chosen = torch.tensor([[-0.5, -2.0], [-2.0, -0.5], [-0.5, -2.0], [-2.0, -2.0]])
    fused = fuse_reference_logps(*init, chosen, torch.tensor([[-1.0, -9.0]] * 4))
    shares = check_winners(fused, ["good", "broken"], max_share=1.0)
    assert shares == {"chosen": {"good": 0.5, "broken": 0.25}, "rejected": {"good": 0.0, "broken": 1.0}}
    with pytest.raises(SourceAlarmError, match="source broken wins 100% of the rejected responses, more than 90%"):
        check_winners(fused, ["good", "broken"], max_share=0.9)


def test_entry_checks():
    with pytest.raises(ValueError, match="terminator is 'two'"):
        ScoringPolicy(terminator="two")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_share is 0"):
        check_winners(None, [], max_share=0)  # type: ignore[arg-type]


def real(name, file, tokens):
    try:
        checkpoint = read_checkpoint(locate(f"models/{name}/{file}"))
        tokenizer = read_tokenizer(locate(f"models/{tokens}/tok512.bin"), vocabulary=checkpoint.sizes.vocabulary)
    except DataNotFoundError:
        pytest.skip(f"the data root has no models/{name}")
    network = Llama2c(checkpoint.sizes, checkpoint.arrays).eval()
    codec = PieceCodec(tokenizer, prompt_wrapper="{prompt}")
    identity = {"weights": checkpoint.sha256, "tokenizer": codec.identity}
    return Source(name, network, codec, checkpoint.sizes.positions, identity)


@pytest.mark.parametrize(
    ("name", "file", "tokens"),
    [
        ("stories260k", "stories260K.bin", "stories260k"),
        ("llama2xs", "model.bin", "stories260k"),
        ("aidreams260k", "aidreams260K.bin", "aidreams260k"),
    ],
)
def test_real_models_give_the_recorded_sums(name, file, tokens):
    """The record scores whole texts after one start token and no end, rounded to five digits a token.

    Each text is cut behind its first words, where a token ends as well.
    """
    source = real(name, file, tokens)
    rows = json.loads(locate("models/fixtures.json").read_text())[name]["texts"]
    places = [row["text"].index(" ", len(row["text"]) // 3) for row in rows]
    texts = [(row["text"][:place], row["text"][place:]) for row, place in zip(rows, places, strict=True)]
    scores = score_texts(source, texts, ScoringPolicy(), batch=3)
    for index, (row, (prompt, response)) in enumerate(zip(rows, texts, strict=True)):
        begun = len(source.codec.prompt_ids([prompt])[0])
        assert source.codec.prompt_ids([prompt])[0] + source.codec.response_ids([response])[0][:-1] == row["ids"]
        wanted = row["logprobs"][begun - 1 :]
        assert scores.sums[index] == pytest.approx(sum(wanted), abs=1e-5 * len(wanted))
        assert scores.tokens[index] == len(wanted) and scores.bytes[index] == len(response)


def test_real_models_with_two_tokenizers_score_one_response_of_equal_bytes():
    """Under both tokenizers the scored tokens spell the response; the counts differ, the bytes do not."""
    texts = [("Once upon a time,", " there was a dragon."), ("", "Ünïcode 漢字\n")]
    stories, dreams = ("stories260k", "stories260K.bin"), ("aidreams260k", "aidreams260K.bin")
    sources = [real(*model, model[0]) for model in (stories, dreams)]
    first, second = (score_texts(source, texts, ScoringPolicy()) for source in sources)
    assert np.array_equal(first.bytes, second.bytes) and not np.array_equal(first.tokens, second.tokens)
    assert np.isfinite(first.sums).all() and np.isfinite(second.sums).all()
