"""The instruction world as a data object: what each part gives, pairs on policy, scores of readings."""

import pytest

from data.files.stages import TemporaryStages
from data.records.probes import PolicyReading
from data.records.texts import Completion, Demonstration, PreferencePair
from data.scoring.registry import scores_of
from data.worlds.instructions.data import InstructionData
from data.worlds.instructions.world import Instructions


def made(part="demonstrations", **options):
    settings = {"world": Instructions(seed=0), "part": part, "items": 40, "batch_size": 8, "seed": 0, "test_items": 12}
    return InstructionData(**{**settings, **options})


@pytest.mark.parametrize(
    ("part", "kind"),
    [("pretraining", Demonstration), ("demonstrations", Demonstration), ("off_policy", PreferencePair)],
)
def test_parts_give_their_records_in_words_of_the_vocabulary(part, kind):
    data = made(part)
    items = data.items("train")
    assert len(items) == 40 and all(isinstance(item, kind) for item in items)
    assert all(data.vocabulary.encode(text) for item in items for text in item[1:4] if text)


def test_seeds_draw_other_items_and_share_the_test():
    one, other = made(seed=1), made(seed=2)
    assert not {item.id for item in one.items("train")} & {item.id for item in other.items("train")}
    assert one.items("test") == other.items("test") and len(one.items("test", 5)) == 5
    assert not {item.prompt for item in one.items("dev")} & {item.prompt for item in one.items("test")}


def writing(text):
    return lambda items: [
        Completion(item.id, copy, text(item, copy), 3, True, -1.0) for item in items for copy in range(4)
    ]


def test_pairs_on_policy_are_two_different_responses_of_the_policy():
    data = made("on_policy")
    with pytest.raises(ValueError, match="draw_pairs"):
        data.items("train")
    data.draw_pairs(TemporaryStages(), weights="a", write=writing(lambda item, copy: f"{min(copy, 1)} ."))
    pairs = data.items("train")
    assert len(pairs) == 40 and all({pair.chosen, pair.rejected} == {"0 .", "1 ."} for pair in pairs)
    assert {pair.chosen_author for pair in pairs} == {"policy"}


def test_better_responses_are_mostly_preferred():
    data = made("on_policy", items=60)
    right = {one.id: one.answer for one in (data.world.problem("preference", index) for index in range(60))}
    data.draw_pairs(
        TemporaryStages(),
        weights="a",
        write=writing(lambda item, copy: right[item.id] if copy % 2 else "0 0 0 0 0 0 0 ."),
    )
    assert sum(pair.chosen == right[pair.id] for pair in data.items("train")) > 54


def test_stage_of_pairs_is_named_by_the_weights():
    stages, asked = TemporaryStages(), []

    def write(items):
        asked.append(len(items))
        return writing(lambda item, copy: f"{copy} .")(items)

    for weights in ("a", "a", "b"):
        made("on_policy").draw_pairs(stages, weights=weights, write=write)
    assert asked == [40, 40]


def test_responses_that_are_all_the_same_or_broken_make_no_pair():
    for text in (lambda item, copy: "1 .", lambda item, copy: "1 ." if copy else "<pad> ."):
        with pytest.raises(ValueError, match="two different"):
            made("on_policy").draw_pairs(TemporaryStages(), weights="a", write=writing(text))


def reading(probe, *responses):
    written = tuple(Completion(probe.id, at, text, 2, True, -1.0) for at, text in enumerate(responses))
    return PolicyReading(probe.id, written, 0.5, 0.1, 0.2, 0.3, 0.4)


def test_frame_scores_responses_by_gold_reward_against_the_demonstration():
    data = made()
    probes = data.probes("test")
    best = {item.id: item.response for item in data.items("test")}
    shown = [data.frame([reading(probe, probe.demonstration)]).iloc[0] for probe in probes]
    assert {row["win_rate"] for row in shown} == {0.5}
    frame = data.frame([reading(probe, best[probe.id], "nonsense") for probe in probes])
    assert (frame["success"] == 0.5).all() and (frame["win_rate"] <= 0.5).all() and (frame["win_rate"] >= 0.25).all()
    assert {"reward", "win_rate", "success", "kl_to_base", "entropy", "knowledge_nll", "demonstration_nll"} <= set(
        scores_of(frame)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"part": "all"}, "data.part"),
        ({"items": 0}, "data.items"),
        ({"copies": 1}, "data.copies"),
        ({"temperature": 0.0}, "data.temperature"),
        ({"test_items": 1}, "data.test_items"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        made(**options)
    with pytest.raises(ValueError, match="no split"):
        made().items("validation")
