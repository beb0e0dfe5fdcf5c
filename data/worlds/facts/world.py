"""Facts about made-up people, told in short passages: a corpus to retrieve from and contexts to read.

After section 8 of the long-context RAG sheet. A person has a first name and a surname, both shared with others; an
attribute is a modifier and a head ("first ship", "last ship"); values are one pool of made-up words for all attributes,
so that the type of a word never gives the answer away. Every (person, attribute) is one passage. Relations have a
person as their value and carry questions of two hops.

Splits deal the people: ``base`` (base training), ``tune``, ``test``. Facts of base people are told anew, with other
values, in every context, so that nothing can be learnt but reading; those of tune and test are the corpus. Distractors
of a context come from people of its own split, so no training context shows a fact of the test.

Kinds of distractors, from easy to hard; none holds the answer but ``same_value``:
    random           another person with no name in common, an attribute with another head
    same_value       another person and attribute, the same value: found by string matching, and wrong
    same_attribute   another person with no name in common, the same attribute
    same_entity      the same person, an attribute with another head
    near_miss        the same person, the attribute with the same head
    shared_name      a near twin: a person who shares one of the two names, the same attribute
Where a kind is used up the next easier one of its row in ``EASIER`` takes its place; ``Reading.kinds`` says what is
there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from data.loading.seeding import carved, check_split, generator, mixed
from data.records.passages import Passage, RagExample
from data.worlds.wordlist import made_up_words

KINDS = ("random", "same_value", "same_attribute", "same_entity", "near_miss", "shared_name")
EASIER = MappingProxyType(
    {
        "shared_name": "same_attribute",
        "near_miss": "same_entity",
        "same_entity": "same_attribute",
        "same_attribute": "random",
        "same_value": "random",
    }
)
GOLD = "gold"
FAMILIES = ("lookup", "verify", "choice", "slot", "dialogue", "two_hop")
"""Stand-ins for the mixture and the evaluation sets: NQ, FEVER, MMLU, T-REx/zsRE, Wizard of Wikipedia, HotpotQA."""

HARD = MappingProxyType({"same_entity": 0.5, "same_attribute": 0.5})
EASY = MappingProxyType({"random": 1.0})

_MODIFIERS = ("first", "last")
_HEADS = ("ship", "town", "trade", "song", "dish", "tree", "river", "stone", "game", "tool", "bird", "book")
_RELATIONS = ("mentor", "rival", "neighbour", "heir")
_SEEN = (
    "the {a} of {e} is {v} .",
    "{e} has {v} as {a} .",
    "as for {e} the {a} is {v} .",
    "{v} is what {e} calls the {a} .",
    "{e} chose {v} for {a} .",
    "{v} : that is the {a} of {e} .",
)
_UNSEEN = ("ask about the {a} of {e} and hear {v} .", "people know {v} to be the {a} of {e} .")
_FILLERS = (
    "nothing more is known here .",
    "this was written long ago .",
    "others may say more some day .",
    "the page ends with a drawing .",
)
_QUESTIONS = MappingProxyType(
    {
        "lookup": "what is the {a} of {e} ?",
        "verify": "is {v} the {a} of {e} ?",
        "choice": "which is the {a} of {e} : {o} ?",
        "slot": "{e} ; {a} ?",
        "dialogue": "we spoke of {e} . tell me the {a} .",
        "two_hop": "what is the {a} of the {r} of {e} ?",
    }
)
_SHARES = MappingProxyType({"base": 0.6, "tune": 0.2, "test": 0.2})
_CHOICES = 3
_PROBES = 50


class Asked(NamedTuple):
    """What a question is about; numbers are positions in the world's lists. ``relation`` is -1 but for two hops."""

    person: int
    attribute: int
    relation: int


class Reading(NamedTuple):
    """A question with its context.

    Attributes:
        example: question, answers, ids of the gold passages and the passages in the order in which they are shown.
        kinds: of every passage in turn, ``gold`` or one of ``KINDS``.
    """

    example: RagExample
    kinds: tuple[str, ...]


class Telling(NamedTuple):
    """One set of values for all facts: the corpus, or one context of base training.

    Attributes:
        seed: every value and phrasing is a function of it.
        suffix: ends the ids of passages; "" for the corpus.
        copied: facts that have a given value and not their own, by (person, attribute).
    """

    seed: int
    suffix: str
    copied: Mapping[tuple[int, int], int]


class FactWorld:
    """See the module's text.

    Args:
        seed: of names, values, splits and every draw.
        entities: people; the corpus has ``entities * (attributes + relations)`` passages.
        first_names, surnames: sizes of the two lists; the fewer, the more near twins. At least ``entities`` pairs.
        attributes: even, 2 to 24.
        relations: attributes whose value is a person of the same split, 0 to 4.
        values: size of the shared pool.
        phrasings: ways to tell a fact that training sees, 1 to 6.
        unseen_phrasings: tell the facts of the test in two ways that training never sees.
        heldout_attributes: the last so many attributes are left out of tune; family ``slot`` of the test asks them
        alone. filler: sentences without content behind each fact, for longer passages.
        shares: of the people, for base, tune and test.
    """

    splits = ("base", "tune", "test")

    def __init__(
        self,
        *,
        seed: int,
        entities: int = 300,
        first_names: int = 30,
        surnames: int = 15,
        attributes: int = 12,
        relations: int = 2,
        values: int = 60,
        phrasings: int = 4,
        unseen_phrasings: bool = False,
        heldout_attributes: int = 2,
        filler: int = 0,
        shares: Mapping[str, float] = _SHARES,
    ) -> None:
        if not 2 <= entities <= first_names * surnames:
            raise ValueError(
                f"entities must lie in 2..{first_names * surnames} (first_names * surnames), got {entities}: "
                "raise first_names or surnames"
            )
        if attributes % 2 or not 4 <= attributes <= 2 * len(_HEADS):
            raise ValueError(f"attributes must be even and lie in 4..{2 * len(_HEADS)}, got {attributes}")
        if not 0 <= relations <= len(_RELATIONS):
            raise ValueError(f"relations must lie in 0..{len(_RELATIONS)}, got {relations}")
        if not 0 <= heldout_attributes <= attributes - 2:
            raise ValueError(f"heldout_attributes must lie in 0..{attributes - 2}, got {heldout_attributes}")
        if values <= _CHOICES:
            raise ValueError(f"values must exceed {_CHOICES}, got {values}")
        if not 1 <= phrasings <= len(_SEEN):
            raise ValueError(f"phrasings must lie in 1..{len(_SEEN)}, got {phrasings}")
        if not 0 <= filler <= len(_FILLERS):
            raise ValueError(f"filler must lie in 0..{len(_FILLERS)}, got {filler}")
        if set(shares) != set(_SHARES):
            raise ValueError(f"shares name {', '.join(_SHARES)}, got {', '.join(shares)}")
        self.seed = seed
        self.heldout = heldout_attributes
        self.filler = filler
        self.phrasings = _SEEN[:phrasings]
        self.test_phrasings = _UNSEEN if unseen_phrasings else self.phrasings
        self._words = sorted(_reserved())
        names = made_up_words(first_names + surnames + values, seed, "facts", "words", taken=self._words)
        self.first_names, self.surnames = names[:first_names], names[first_names : first_names + surnames]
        self.values = names[first_names + surnames :]
        pairs = [(first, last) for first in range(first_names) for last in range(surnames)]
        self.people = generator(seed, "facts", "people").sample(pairs, entities)
        self.attributes = [f"{modifier} {head}" for head in _HEADS[: attributes // 2] for modifier in _MODIFIERS]
        self.relations = list(_RELATIONS[:relations])
        dealt = carved(range(entities), shares, seed, "facts", "splits")
        self.members = {split: tuple(sorted(dealt[split])) for split in self.splits}
        self._split_of = {person: split for split, people in self.members.items() for person in people}
        if min(map(len, self.members.values())) < 2:
            raise ValueError(f"{entities} entities leave a split with fewer than two people: raise entities")
        self.corpus = Telling(generator(seed, "facts", "corpus").getrandbits(64), "", {})
        self.namesakes = self._group_by_name()

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of passages, questions and answers."""
        return (*self._words, *self.first_names, *self.surnames, *self.values)

    def name(self, person: int) -> str:
        """First name and surname."""
        first, last = self.people[person]
        return f"{self.first_names[first]} {self.surnames[last]}"

    def families(self, split: str) -> tuple[str, ...]:
        """The task families that a split has."""
        check_split(split, self.splits)
        return tuple(
            family
            for family in FAMILIES
            if (family != "two_hop" or self.relations) and (family != "slot" or split != "test" or self.heldout)
        )

    def passages(self, split: str | None = None) -> Iterator[Passage]:
        """The corpus, or the part of it about the people of one split; person by person."""
        people = range(len(self.people)) if split is None else self.members[split]
        for person in people:
            for attribute in range(len(self.attributes) + len(self.relations)):
                yield self._passage(self.corpus, person, attribute)

    def question(self, split: str, family: str, index: int) -> RagExample:
        """A question about the corpus with the ids of its gold passages; something must retrieve the passages."""
        asked = self._asked(split, family, index)
        return self._example(self.corpus, split, family, index, asked)

    def reading(
        self,
        split: str,
        family: str,
        index: int,
        *,
        k: int,
        negatives: Mapping[str, float] = EASY,
        gold_position: int | None = None,
        gold_present: bool = True,
    ) -> Reading:
        """A question with ``k`` passages: its gold ones and distractors.

        Args:
            split: one of ``splits``; in ``base`` the facts are told anew in every context.
            family: one of ``families(split)``.
            index: which question; also fixes the distractors.
            k: passages in the context.
            negatives: share of each of ``KINDS`` among the distractors; must add up to 1.
            gold_position: 0-based place of the (first) gold passage; ``None`` balances it: over any ``k`` successive
                indices it takes every place once.
            gold_present: false leaves the gold passages out, for abstention and hallucination; there are still k
                passages.

        Raises:
            ValueError: a kind, family or share that there is not, or no room for the gold passages.
        """
        if set(negatives) - set(KINDS) or abs(sum(negatives.values()) - 1) > 1e-9 or min(negatives.values()) < 0:
            raise ValueError(f"negatives must be shares of {', '.join(KINDS)} that add up to 1, got {dict(negatives)}")
        asked = self._asked(split, family, index)
        rng = generator(self.seed, "facts", "context", split, family, index)
        telling = self._anew(rng) if split == "base" else self.corpus
        example = self._example(telling, split, family, index, asked)
        gold = self._gold(telling, asked) if gold_present else []
        if len(gold) > k or k < 1:
            raise ValueError(f"k must leave room for {len(gold)} gold passages, got {k}")
        if gold_position is not None and not 0 <= gold_position < k:
            raise ValueError(f"gold_position must lie in 0..{k - 1}, got {gold_position}")
        first = index % k if gold_position is None else gold_position
        others = [place for place in range(k) if place != first]
        places = dict(zip([first, *rng.sample(others, max(0, len(gold) - 1))], gold, strict=False))
        distractors = self._distractors(rng, telling, asked, k - len(gold), negatives)
        rng.shuffle(distractors)
        shown = [(GOLD, places[place], telling) if place in places else distractors.pop() for place in range(k)]
        passages = tuple(self._passage(told, *fact) for _, fact, told in shown)
        return Reading(example._replace(passages=passages), tuple(kind for kind, _, _ in shown))

    def ask(self, passage: Passage, family: str) -> tuple[str, str]:
        """Question of a one-hop ``family`` about the fact that a passage of this world tells, and its answer.

        Raises:
            ValueError: a family of which the passage alone does not decide the question, or a passage about a relation.
        """
        place = passage.id.partition("@")[0].removeprefix("e")
        person, attribute = (int(number) for number in place.split(".a"))
        if family not in ("lookup", "slot", "dialogue") or attribute >= len(self.attributes):
            raise ValueError(f"lookup, slot or dialogue ask about an attribute, got {family!r} about {passage.text!r}")
        said = set(passage.text.split()) & set(self.values)
        question = _QUESTIONS[family].format(a=self.attributes[attribute], e=self.name(person))
        return question, said.pop()

    def _asked(self, split: str, family: str, index: int) -> Asked:
        check_split(split, self.splits, index)
        if family not in self.families(split):
            raise ValueError(f"family must be one of {', '.join(self.families(split))} in {split}, got {family!r}")
        rng = generator(self.seed, "facts", "question", split, family, index)
        count = len(self.attributes)
        kept = range(count) if split == "base" else range(count - self.heldout)
        if family == "slot" and split == "test":
            kept = range(count - self.heldout, count)
        relation = count + rng.randrange(len(self.relations)) if family == "two_hop" else -1
        return Asked(rng.choice(self.members[split]), rng.choice(kept), relation)

    def _gold(self, telling: Telling, asked: Asked) -> list[tuple[int, int]]:
        if asked.relation < 0:
            return [(asked.person, asked.attribute)]
        return [(asked.person, asked.relation), (self._value(telling, asked.person, asked.relation), asked.attribute)]

    def _example(self, telling: Telling, split: str, family: str, index: int, asked: Asked) -> RagExample:
        rng = generator(self.seed, "facts", "wording", split, family, index)
        gold = self._gold(telling, asked)
        answer = self.values[self._value(telling, *gold[-1])]
        others = [value for value in self.values if value != answer]
        question = _QUESTIONS[family].format(
            a=self.attributes[asked.attribute],
            e=self.name(asked.person),
            r=self.relations[asked.relation - len(self.attributes)] if asked.relation >= 0 else "",
            v=answer if rng.random() < 0.5 else rng.choice(others),
            o=" or ".join(rng.sample([answer, *rng.sample(others, _CHOICES - 1)], _CHOICES)),
        )
        if family == "verify":
            answer = "yes" if question.startswith(f"is {answer} ") else "no"
        ids = tuple(self._id(telling, *fact) for fact in gold)
        return RagExample(f"facts/{split}/{family}/{index}", question, (answer,), ids)

    @staticmethod
    def _anew(rng: random.Random) -> Telling:
        """Other values and phrasings for every fact."""
        seed = rng.getrandbits(64)
        return Telling(seed, f"@{seed:016x}", {})

    def _value(self, telling: Telling, person: int, attribute: int) -> int:
        """Number of the value of a fact; for a relation, number of a person of the same split."""
        copied = telling.copied.get((person, attribute))
        if copied is not None:
            return copied
        if attribute < len(self.attributes):
            return mixed(telling.seed, person, attribute) % len(self.values)
        people = self.members[self._split_of[person]]
        chosen = people[mixed(telling.seed, person, attribute) % (len(people) - 1)]
        return people[-1] if chosen == person else chosen

    @staticmethod
    def _id(telling: Telling, person: int, attribute: int) -> str:
        return f"e{person}.a{attribute}{telling.suffix}"

    def _passage(self, telling: Telling, person: int, attribute: int) -> Passage:
        value = self._value(telling, person, attribute)
        is_relation = attribute >= len(self.attributes)
        draw = mixed(telling.seed, person, attribute, 1)
        phrasings = self.test_phrasings if self._split_of[person] == "test" else self.phrasings
        told = phrasings[draw % len(phrasings)].format(
            a=self.relations[attribute - len(self.attributes)] if is_relation else self.attributes[attribute],
            e=self.name(person),
            v=self.name(value) if is_relation else self.values[value],
        )
        fillers = (_FILLERS[(draw // 64 + number) % len(_FILLERS)] for number in range(self.filler))
        return Passage(self._id(telling, person, attribute), "", " ".join((told, *fillers)))

    def _group_by_name(self) -> list[tuple[int, ...]]:
        """Near twins of every person: those of the same split who share the first name or the surname."""
        groups: dict[tuple[str, int, int], list[int]] = {}
        for person, names in enumerate(self.people):
            for part, number in enumerate(names):
                groups.setdefault((self._split_of[person], part, number), []).append(person)
        twins = []
        for person, names in enumerate(self.people):
            shared = (groups[self._split_of[person], part, number] for part, number in enumerate(names))
            twins.append(tuple(other for group in shared for other in group if other != person))
        return twins

    @cached_property
    def _holders(self) -> dict[tuple[str, int], list[tuple[int, int]]]:
        """Facts of the corpus by split and value: made only where ``same_value`` asks for it."""
        found: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for split, people in self.members.items():
            for person in people:
                for attribute in range(len(self.attributes)):
                    value = self._value(self.corpus, person, attribute)
                    found.setdefault((split, value), []).append((person, attribute))
        return found

    def _distractors(
        self, rng: random.Random, telling: Telling, asked: Asked, count: int, negatives: Mapping[str, float]
    ) -> list[tuple[str, tuple[int, int], Telling]]:
        """Different facts by kind, none of them gold; with each the telling that gives it its value."""
        gold = self._gold(telling, asked)
        used = set(gold)
        person, attribute = gold[-1]
        answer = self._value(telling, person, attribute)
        kinds, weights = list(negatives), list(negatives.values())
        placed = []
        for _ in range(count):
            kind: str | None = rng.choices(kinds, weights)[0]
            fact = None
            while kind is not None:
                fact = self._fact_of_kind(rng, telling, kind, person, attribute, answer, used)
                if fact is not None:
                    break
                kind = EASIER.get(kind)
            if fact is None or kind is None:
                raise ValueError(
                    f"no {count} distractors can be found for one question: raise entities or values, or lower k"
                )
            used.add(fact)
            told = telling
            if kind == "same_value" and telling.suffix:
                told = telling._replace(copied={fact: answer})
            placed.append((kind, fact, told))
        return placed

    def _fact_of_kind(
        self,
        rng: random.Random,
        telling: Telling,
        kind: str,
        person: int,
        attribute: int,
        answer: int,
        used: set[tuple[int, int]],
    ) -> tuple[int, int] | None:
        """A fact of one kind that is not used yet; ``None`` when there is none, or probing found none."""
        others = [other for other in range(len(self.attributes)) if other // 2 != attribute // 2]
        people, twins = self.members[self._split_of[person]], self.namesakes[person]
        copies = kind == "same_value"

        def fits(fact: tuple[int, int]) -> bool:
            return fact not in used and (copies or self._value(telling, *fact) != answer)

        if kind in ("random", "same_attribute") or (copies and telling.suffix):
            for _ in range(_PROBES):  # people are many: draw until one fits
                other = rng.choice(people)
                fact = (other, attribute if kind == "same_attribute" else rng.choice(others))
                if other != person and other not in twins and fits(fact):
                    return fact
            return None
        if copies:
            holders = self._holders[self._split_of[person], answer]
            strangers = [fact for fact in holders if fact[0] != person and fact[0] not in twins and fact[1] in others]
            free = [fact for fact in strangers if fact not in used]
            return rng.choice(free) if free else None
        if kind == "shared_name":
            candidates = [(other, attribute) for other in twins]
        elif kind == "near_miss":
            candidates = [(person, attribute ^ 1)]
        else:
            candidates = [(person, other) for other in others]
        free = [fact for fact in candidates if fits(fact)]
        return rng.choice(free) if free else None


def _reserved() -> set[str]:
    """Words of phrasings, questions, attributes and answers."""
    texts = [*_SEEN, *_UNSEEN, *_FILLERS, *_QUESTIONS.values(), *_MODIFIERS, *_HEADS, *_RELATIONS, "yes no or"]
    return {word for text in texts for word in text.split() if not word.startswith("{")}
