"""Episodes of several turns: what is read, written and scored is what the environment and the sampler saw."""

import pytest
import torch

from data.reasoning.verified_problems import VerifiedProblems
from data.records.episodes import TURN
from data.worlds.cards.countdown import Countdown
from data.worlds.cards.general_points import GeneralPoints
from data.worlds.navigation import Navigation
from lightning_modules.base import Optimiser
from lightning_modules.networks.decoder.config import TinyModel
from lightning_modules.networks.hub.pretrained import Pretrained
from lightning_modules.networks.language_model import build_language_model
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.networks.turn_batch import TurnIds, turn_batch
from lightning_modules.rl.rollouts import answers, demonstrated, sample, score
from lightning_modules.rl.terms import Ppo
from lightning_modules.sampling.sampler import Rollouts, Sampler
from lightning_modules.sft_rl.amft import Amft
from lightning_modules.sft_rl.controller import FixedMu, Imitation
from lightning_modules.sft_rl.module import Mixing
from lightning_modules.training.fit import fit
from tests.lightning_modules.chat_tokenizers import TEMPLATES, gpt2, save_model

WALKS = Navigation(seed=0, shortest=1, longest=1, between=1, landmarks=4, unseen_landmarks=2)
CARDS = GeneralPoints(seed=0, reward="success", verify_steps=2, ungraded_call=False)
RATE = Optimiser(learning_rate=1e-2, weight_decay=0.0, warmup=0.0, schedule="constant")


def problems(world, name, kind=VerifiedProblems, **options):
    sizes = {"demonstrations": 8, "validation": 4, "test": 4, "ood": 3, "batch_size": 3, "steps": 3}
    return kind(world=world, seed=0, name=name, **{**sizes, **options})


def tiny():
    return TinyModel(optimiser=RATE, width=8, layers=1, heads=2)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


class Script:
    """A sampler that writes given texts, one list of them for every turn, and remembers what it read."""

    def __init__(self, *turns):
        self.turns = list(turns)
        self.read = []

    def sample(self, model, prompts, *, copies, generator, progress=None):
        self.read.append([list(prompt) for prompt in prompts])
        rows = model.codec.response_ids(self.turns.pop(0))
        assert len(rows) == len(prompts) * copies
        tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        return Rollouts(tokens, lengths, torch.ones(len(rows), dtype=torch.bool), torch.zeros(tokens.shape))


def test_playing_the_expert_gives_the_rows_that_imitation_scores():
    data = problems(WALKS, "navigation")
    model = build_language_model(tiny(), data, seed=0, trained=True)
    items = data.items("train", 4)
    ways = [item.response.split(TURN) for item in items]
    assert len({len(way) for way in ways}) > 1  # some end before others
    turns = [[way[at] for way in ways if at < len(way)] for at in range(max(map(len, ways)))]
    found = sample(model, data, items, Script(*turns), copies=1, generator=drawn())
    shown = demonstrated(model, data, items)
    assert found.solved == [1.0] * 4 and found.texts == [item.response for item in items]
    for one, other in zip(found.batch, shown, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert found.lengths == [sum(len(action.split()) + 1 for action in way) for way in ways]


@pytest.mark.parametrize("template", ["chatml", "llama2", "gemma"])
def test_a_chat_model_walks_in_turns_of_a_conversation(template, tmp_path):
    """Observations are the user's turns; an action that was cut off is closed before the next one."""
    tokenizer = gpt2(chat_template=TEMPLATES[template])
    save_model(tmp_path, tokenizer, positions=2048)
    config = Pretrained(kind="causal", weights=str(tmp_path), architecture={"model_type": "llama"}, prompt_limit=2048,
                        optimiser=RATE)  # fmt: skip
    data = problems(WALKS, "navigation")
    model = build_language_model(config, data, seed=0, trained=True)
    codec, items = model.codec, data.items("train", 4)
    ways = [data.turns(item) for item in items]
    turns = [[way[at].action for way in ways if at < len(way)] for at in range(max(map(len, ways)))]
    script = Script(*turns)
    found = sample(model, data, items, script, copies=1, generator=drawn())
    shown = demonstrated(model, data, items)
    assert found.solved == [1.0] * 4 and max(map(len, ways)) > 1
    for one, other in zip(found.batch, shown, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    for number, (item, way) in enumerate(zip(items, ways, strict=True)):
        said = [item.prompt, *(text for turn in way for text in turn)][:-1]
        talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
        whole = tokenizer.apply_chat_template(talk, return_dict=False)
        length = max(at for at, index in enumerate(whole) if index == codec.end) + 1
        assert shown.ids[number, :length].tolist() == whole[:length]
        assert int((shown.targets[number] == codec.end).sum()) == len(way), "each action learns its end"
    cut = Sampler(max_tokens=1)
    again = sample(model, data, items, cut, copies=1, generator=drawn())
    scored = score(model, again.batch)
    torch.testing.assert_close(scored.logps[scored.mask], again.logps[scored.mask], atol=1e-4, rtol=0)


def test_a_second_try_reads_the_first_and_its_feedback_as_the_warm_up_shows_them():
    data = problems(CARDS, "general_points")
    model = build_language_model(tiny(), data, seed=0, trained=True)
    (item,) = data.items("train", 1)
    problem = data._problem(item.id)
    retry = data._opened(CARDS.retry(problem, 0))
    first = retry.prompt.split("\n")[1]
    sampler = Script([first], [retry.response])
    found = sample(model, data, [item], sampler, copies=1, generator=drawn())
    assert found.solved == [1.0] and found.texts == [first + TURN + retry.response]
    assert sampler.read[1] == model.codec.prompt_ids([retry.prompt])
    assert data.solved(item.id, found.texts[0]) and not data.solved(item.id, first)
    # Both tries are scored with their ends, the feedback is not.
    assert found.lengths == [len(first) + 1 + len(retry.response) + 1]
    assert int((found.batch.targets >= 0).sum()) == found.lengths[0]
    assert data.turns(item) == [(item.response, "")]


@pytest.mark.parametrize(("world", "name"), [(WALKS, "navigation"), (CARDS, "general_points")])
def test_log_probabilities_of_sampled_episodes_are_those_of_training(world, name):
    data = problems(world, name)
    model = build_language_model(tiny(), data, seed=1, trained=True)
    found = sample(model, data, data.items("train", 3), Sampler(max_tokens=4), copies=2, generator=drawn())
    assert max(text.count(TURN) for text in found.texts) >= 1
    scored = score(model, found.batch)
    assert scored.mask.sum(1).tolist() == found.lengths
    torch.testing.assert_close(scored.logps[scored.mask], found.logps[scored.mask], atol=1e-4, rtol=0)
    assert found.solved == [float(data.solved(data.items("train", 3)[row // 2].id, text))
                            for row, text in enumerate(found.texts)]  # fmt: skip
    again = sample(model, data, data.items("train", 3), Sampler(max_tokens=4), copies=2, generator=drawn())
    assert again.texts == found.texts


def test_states_come_with_the_same_log_probabilities():
    data = problems(WALKS, "navigation")
    model = build_language_model(tiny(), data, seed=0, trained=True)
    batch = demonstrated(model, data, data.items("train", 3))
    plain, with_states = score(model, batch), score(model, batch, with_states=True)
    assert torch.equal(plain.logps, with_states.logps) and torch.equal(plain.mask, with_states.mask)
    assert plain.states is None and not with_states.states.requires_grad
    logits = model.network.lm_head(with_states.states).log_softmax(-1)
    own = logits.gather(-1, batch.targets.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(own[plain.mask], plain.logps[plain.mask])


# Three demonstrations and six rollouts: both in pieces, or the rollouts alone.
@pytest.mark.parametrize(("rows", "rl"), [(2, None), (4, Ppo)])
def test_gradients_in_pieces_are_those_of_the_whole(rows, rl, tmp_path):
    ends = []
    for size in (None, rows):
        data = problems(WALKS, "navigation")
        mixer = Amft(meta_every=1, validation_prompts=3, validation_rollouts=2)
        module = Mixing(model=tiny(), seed=0, mixer=mixer, optimiser=RATE, sampler=Sampler(max_tokens=4), rollouts=2,
                        rollout_tokens=4, micro_batch=size, kl=0.1, rl=rl() if rl else None)  # fmt: skip
        module.attach(data)
        fit(module, data, folder=tmp_path / str(size), max_steps=3, accelerator="cpu", checkpoint_every=None)
        ends.append(module)
    whole, pieces = ends
    assert pieces.ledger.read > whole.ledger.read and pieces.ledger.trained == whole.ledger.trained
    assert pieces.mus == pytest.approx(whole.mus, abs=1e-4) and whole.mus[-1] != whole.mus[0]
    for one, other in zip(whole.network.parameters(), pieces.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


class Coin(VerifiedProblems):
    """Walks that are solved or not by the spelling of their actions."""

    def play(self, example_ids, write):
        episodes = super().play(example_ids, write)
        return [one._replace(solved=sum(map(ord, "".join(one.actions))) % 2 == 0) for one in episodes]


@pytest.mark.parametrize("size", [None, 2])
def test_walks_of_groups_with_equal_rewards_are_left_out_of_the_gradient_without_changing_it(size, tmp_path):
    ends = []
    for skip in (False, True):
        data = problems(WALKS, "navigation", kind=Coin)
        module = Mixing(model=tiny(), seed=0, mixer=FixedMu(mu=0.2), optimiser=RATE, sampler=Sampler(max_tokens=4),
                        rollouts=2, rollout_tokens=4, skip_equal_groups=skip, micro_batch=size)  # fmt: skip
        module.attach(data)
        fit(module, data, folder=tmp_path / str(skip), max_steps=3, accelerator="cpu", checkpoint_every=None)
        ends.append(module)
    (every, some), before = ends, build_language_model(tiny(), problems(WALKS, "navigation"), seed=0, trained=True)
    assert every.ledger.rollout == some.ledger.rollout and some.ledger.trained < every.ledger.trained
    for one, other, start in zip(*(net.parameters() for net in (every.network, some.network, before)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert not torch.equal(one, start)


def without_end(action):
    return [index for index in action if index != 2]


def test_one_turn_is_a_prompt_with_its_response():
    prompts, responses = [[1, 5, 6], [1, 7]], [[8, 2], [9, 9, 2]]
    turns = [[TurnIds(response)] for response in responses]
    plain = padded_batch(prompts, responses, padding=0)
    for one, other in zip(turn_batch(prompts, turns, padding=0, read_back=without_end, limit=9), plain, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_an_end_is_scored_after_its_action_and_read_by_nobody():
    batch = turn_batch(
        [[1, 5]], [[TurnIds([8, 2], [6, 7]), TurnIds([9, 2])]], padding=0, read_back=without_end, limit=9
    )
    assert batch.ids.tolist() == [[1, 5, 8, 6, 7, 9, 2]]
    # 8 after place 1, its end after 8; 9 after place 4, its end after 9.
    assert batch.targets.tolist() == [[8, 2, 9, 2]] and batch.sources.tolist() == [[1, 2, 4, 5]]
    with pytest.raises(ValueError, match="limit"):
        turn_batch([[1, 5]], [[TurnIds([8, 2])]], padding=0, read_back=without_end, limit=3)


def test_a_walk_is_trained_and_scored_in_three_parts(tmp_path):
    data = problems(WALKS, "navigation")
    sampler = Sampler(max_tokens=4)
    module = Mixing(model=tiny(), seed=0, mixer=FixedMu(), optimiser=RATE, sampler=sampler, rollouts=2,
                    rollout_tokens=4, samples=2)  # fmt: skip
    module.attach(data)
    fit(module, data, folder=tmp_path, max_steps=2, accelerator="cpu", checkpoint_every=None)
    assert module.ledger.rollout > 0 and module.ledger.trained > module.ledger.rollout
    frame = data.frame(module.predict(data, split="test"))
    assert len(frame) == 4 + 3 + 3
    assert frame[["id_success", "ood_success", "landmarks_success"]].notna().sum().tolist() == [4, 3, 3]
    assert set(frame["mu"]) == {0.5} and frame["reached"].isna().all()


def test_imitation_of_walks_learns_them(tmp_path):
    data = problems(WALKS, "navigation", demonstrations=2, batch_size=2)
    module = Mixing(model=TinyModel(optimiser=RATE, width=32, layers=2, heads=2), seed=0, mixer=Imitation(),
                    optimiser=RATE, sampler=Sampler(max_tokens=4), samples=1)  # fmt: skip
    module.attach(data)
    fit(module, data, folder=tmp_path, max_steps=60, accelerator="cpu", checkpoint_every=None)
    items = data.items("train")
    written = answers(module.network, data, items, Sampler(max_tokens=4, temperature=0.0), copies=1, seed=0)
    assert [data.solved(item.id, text) for item, (text, _) in zip(items, written, strict=True)] == [True, True]


def test_retries_are_for_worlds_that_have_them():
    with pytest.raises(ValueError, match="retry_share"):
        VerifiedProblems(world=Countdown(seed=0), seed=0, retry_share=0.1)
