"""Records of relation extraction. Plain Python: importing this needs nothing else."""

import re
from typing import Any, NamedTuple

ENTITY_TAG = re.compile(r"</?e[12]>")


class RelationExample(NamedTuple):
    """One sentence with two marked entities and the relation between them.

    Attributes:
        id: unique inside its source; train, dev and test ids do not overlap.
        text: the sentence with <e1>..</e1> around the head and <e2>..</e2> around the tail, in any order.
        head: the words between the <e1> tags.
        tail: the words between the <e2> tags.
        label: one string of the inventory, direction included, such as "Cause-Effect(e2,e1)".
    """

    id: str
    text: str
    head: str
    tail: str
    label: str


class Neighbour(NamedTuple):
    """One retrieved training sentence: its id, and its score (larger is closer; the scale is the retriever's own)."""

    id: str
    score: float


class Prompt(NamedTuple):
    """What a model reads and the string it should write.

    Attributes:
        example_id: id of the RelationExample asked about.
        text: the whole prompt.
        target: the gold label as it is spelt in the inventory.
        neighbours: ids of the retrieved sentences that are really inside ``text``, nearest first.
    """

    example_id: str
    text: str
    target: str
    neighbours: tuple[str, ...]


class Prediction(NamedTuple):
    """What a method answered.

    Attributes:
        example_id: id of the RelationExample asked about.
        gold: gold label.
        prediction: a label of the inventory, or "" when the output names none (counted as wrong).
        output: the raw text that was generated.
        retrieved: ids of the neighbours that the method saw.
    """

    example_id: str
    gold: str
    prediction: str
    output: str
    retrieved: tuple[str, ...]


class Passage(NamedTuple):
    """A piece of text that can be retrieved and read.

    Attributes:
        id: unique in its corpus.
        title: what the piece is taken from; "" where it has none.
        text: the piece itself, never empty.
    """

    id: str
    title: str
    text: str


class RagExample(NamedTuple):
    """A question, its accepted answers and what is known of the passages that hold them.

    Attributes:
        id: unique inside its source; train, dev and test ids do not overlap.
        question: as asked.
        answers: accepted answers, at least one; any of them counts as right.
        gold: ids of the passages that hold the answer; () where nobody knows.
        passages: passages that come with the question (gold ones and distractors) in their source's order; () where a
            retriever has to find some.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()


def without_tags(text: str) -> str:
    """Delete the four entity tags and nothing else: what RAG4RE embeds, and the identity of a sentence."""
    return ENTITY_TAG.sub("", text)


class Demonstration(NamedTuple):
    """A prompt and a response to be imitated; also a question of a test, whose response is then one right answer.

    Attributes:
        id: unique inside its split.
        prompt: what a model reads.
        response: what it should write, without any end mark.
    """

    id: str
    prompt: str
    response: str


class PreferencePair(NamedTuple):
    """Two different responses to one prompt, of which the first was preferred.

    Attributes:
        id: unique inside its split.
        prompt: what a model reads.
        chosen: the preferred response, without any end mark.
        rejected: the other one.
        chosen_author, rejected_author: who wrote them, such as the name of a model; "" where that is unknown.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_author: str = ""
    rejected_author: str = ""


class Observation(NamedTuple):
    """What an environment shows a policy at one turn.

    Attributes:
        text: words of this turn alone; what came before is in the episode.
        images: pictures of this turn, in the order in which the text speaks of them; none in worlds of text.
    """

    text: str
    images: tuple[Any, ...] = ()


class Problem(NamedTuple):
    """One task of a generated world or of a corpus with checkable answers.

    Attributes:
        id: "<world>/<split>/<index>", unique in its world.
        task: which family of the world it belongs to, for scores per family.
        prompt: what a policy reads first.
        answer: a right answer in canonical form; "" where a verifier accepts many and none is canonical.
        hidden: what the verifier knows beyond the prompt; hashable, private to the world that made it.
    """

    id: str
    task: str
    prompt: str
    answer: str
    hidden: tuple[Any, ...] = ()


class Grade(NamedTuple):
    """A verifier's judgement of one answer.

    Attributes:
        reward: in the unit of the world.
        solved: whether the answer is right: the 0/1 success that scores are made of.
        feedback: why it is wrong, in words; "" where it is right.
    """

    reward: float
    solved: bool
    feedback: str = ""


class Step(NamedTuple):
    """What follows an action: the next observation, the reward of the action, and whether the episode is over."""

    observation: Observation
    reward: float
    done: bool


class Episode(NamedTuple):
    """A policy's way through one problem: always one observation more than actions.

    Attributes:
        problem_id: id of the Problem.
        observations: what was shown, in order.
        actions: what the policy wrote, in order.
        rewards: one for every action.
        done: whether the environment ended it.
        solved: whether the problem was solved.
    """

    problem_id: str
    observations: tuple[Observation, ...]
    actions: tuple[str, ...]
    rewards: tuple[float, ...]
    done: bool
    solved: bool
