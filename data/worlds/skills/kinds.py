"""The five skills of the world of skills: how a task is drawn, and how its answers are checked exactly.

A task has a ``lot`` in [0, 1) that decides its split, so that the same task never falls into two. Checks look at most
at ``MAX_ANSWER`` characters.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

from data.records.episodes import Grade
from data.worlds.wordlist import made_up_words

MAX_ANSWER = 80


class Task(NamedTuple):
    """What is asked: the prompt, one right answer, the place on the line that splits cut, what the check must know."""

    prompt: str
    answer: str
    lot: float
    hidden: tuple[str, ...] = ()


class Skill(Protocol):
    """One kind of task."""

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        ...

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """1 for a right answer; what else is paid is the skill's own."""
        ...


def lot_of(*key: object) -> float:
    """A number in [0, 1) that looks random and depends on the key alone, not on the seed of a world."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:7], "big") / 2**56


def same(answer: str, given: str) -> Grade:
    """1 if the text is the answer, spaces at its ends left out."""
    right = len(given) <= MAX_ANSWER and given.strip(" ") == answer
    return Grade(float(right), right, "" if right else "wrong")


class Arithmetic:
    """Two or three numbers with + and -, or two below 13 with *: ``17+25-3=`` is answered by ``39``.

    Args:
        largest: number in a sum.
        terms: most numbers in a sum, at least 2.
        products: share of tasks with *. A product is in one split only, so that those of the test cannot be known by
            heart.
    """

    def __init__(self, *, largest: int = 99, terms: int = 3, products: float = 0.3) -> None:
        if largest < 9 or terms < 2 or not 0 <= products < 1:
            raise ValueError(
                "arithmetic wants largest of at least 9, terms of at least 2 and products below 1, got "
                f"{largest}, {terms} and {products}"
            )
        self.largest = int(largest)
        self.terms = int(terms)
        self.products = float(products)

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        if rng.random() < self.products:
            a, b = rng.randint(2, 12), rng.randint(2, 12)
            return Task(f"{a}*{b}=", str(a * b), lot_of("*", *sorted((a, b))))
        numbers = [rng.randint(0, self.largest) for _ in range(rng.randint(2, self.terms))]
        text, value = str(numbers[0]), numbers[0]
        for number in numbers[1:]:
            plus = rng.random() < 0.5
            text += f"{'+' if plus else '-'}{number}"
            value += number if plus else -number
        return Task(f"{text}=", str(value), lot_of("sum", text))

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """Exact."""
        return same(answer, given)


class Strings:
    """Change a word: ``flip mola`` is answered by ``alom``."""

    _CHANGES: dict[str, Callable[[str], str]] = {  # noqa: RUF012
        "flip": lambda word: word[::-1],
        "twice": lambda word: word + word,
        "novowel": lambda word: "".join(letter for letter in word if letter not in "aeiou"),
        "ends": lambda word: word[0] + word[-1],
        "turn": lambda word: word[1:] + word[0],
        "sorted": lambda word: "".join(sorted(word)),
    }

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        change = rng.choice(list(self._CHANGES))
        word = "".join(rng.choice(pool) for pool in ["bdfgklmnprst", "aeiou"] * 3)[: rng.randint(3, 6)]
        return Task(f"{change} {word}", self._CHANGES[change](word), lot_of(change, word))

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """Exact."""
        return same(answer, given)


class Facts:
    """Made-up facts that must be known: ``where is bolka?`` is answered by ``in trumi``.

    Splits deal the ways to ask, and every fact is asked in every split: what is tested is knowledge under a wording
    that training did not use for that fact.

    Args:
        seed: of the facts.
        count: how many there are.
    """

    _QUESTIONS = (
        "where is {}?",
        "{} is where?",
        "land of {}?",
        "find {}",
        "which land has {}?",
        "{} lies in?",
        "tell the place of {}",
        "in what land is {}?",
        "say where {} is",
        "{}: land?",
    )

    def __init__(self, *, seed: int, count: int) -> None:
        names = made_up_words(count + 12, seed, "skills", "facts")
        self.towns, self.lands = names[:count], names[count:]
        self._rng = random.Random(seed)
        self.land_of = {town: self._rng.choice(self.lands) for town in self.towns}

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        number, question = rng.randrange(len(self.towns)), rng.randrange(len(self._QUESTIONS))
        town = self.towns[number]
        lot = ((number + question) % len(self._QUESTIONS) + 0.5) / len(self._QUESTIONS)
        return Task(self._QUESTIONS[question].format(town), f"in {self.land_of[town]}", lot)

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """Exact."""
        return same(answer, given)


class Programs:
    """Run two to four lines over a and b: ``a=3;b=a+4;a=b*2;a?`` is answered by ``14``; values stay in 0-99."""

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        while True:
            values = {"a": rng.randint(0, 9)}
            lines = [f"a={values['a']}"]
            for _ in range(rng.randint(1, 3)):
                target = rng.choice("ab")
                left = rng.choice(sorted(values))
                right = rng.choice([*sorted(values), str(rng.randint(1, 9))])
                operator = rng.choice("+-*")
                operand = values[right] if right in values else int(right)
                values[target] = {
                    "+": values[left] + operand,
                    "-": values[left] - operand,
                    "*": values[left] * operand,
                }[operator]
                lines.append(f"{target}={left}{operator}{right}")
                if not 0 <= values[target] <= 99:
                    break
            else:
                asked = rng.choice(sorted(values))
                text = ";".join(lines)
                return Task(f"{text};{asked}?", str(values[asked]), lot_of(text))

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """Exact."""
        return same(answer, given)


class Style:
    """Follow an instruction about form: ``2 k-words, capitals, !`` may be answered by ``KOTU KEBA!``: many answers are
    right.

    The words must be different ones of the world's lexicon. Four things are checked: number, words, letters, ending; a
    wrong answer is paid an eighth for each that holds.

    Args:
        seed: of the lexicon.
        count: words of the lexicon.
    """

    _CASES: dict[str, Callable[[str], str]] = {"plain": str.lower, "capitals": str.upper, "titled": str.title}  # noqa: RUF012
    _ENDINGS = (".", "!", "?")

    def __init__(self, *, seed: int, count: int) -> None:
        self.lexicon = made_up_words(count, seed, "skills", "style")
        self.initials = {
            letter: [word for word in self.lexicon if word[0] == letter]
            for letter in sorted({word[0] for word in self.lexicon})
        }
        self._askable = [letter for letter, words in self.initials.items() if len(words) >= 3]

    def draw(self, rng: random.Random) -> Task:
        """A task."""
        number, letter = rng.randint(1, 3), rng.choice(self._askable)
        case, ending = rng.choice(list(self._CASES)), rng.choice(self._ENDINGS)
        words = rng.sample(self.initials[letter], number)
        answer = " ".join(map(self._CASES[case], words)) + ending
        # A number of words is not held out, but a combination with a letter, a case and an ending is.
        lot = lot_of(number, letter, case, ending)
        return Task(f"{number} {letter}-words, {case}, {ending}", answer, lot, (str(number), letter, case, ending))

    def grade(self, answer: str, hidden: tuple[str, ...], given: str) -> Grade:
        """1 when all four hold, else an eighth for each."""
        number, letter, case, ending = hidden
        given = given.strip(" ")
        if not given or len(given) > MAX_ANSWER:
            return Grade(0.0, False, "empty" if not given else "long")
        words = given.rstrip("".join(self._ENDINGS)).split(" ")
        known = self.initials[letter]
        holds = (
            len(words) == int(number),
            len(set(map(str.lower, words))) == len(words) and all(word.lower() in known for word in words),
            all(word == self._CASES[case](word) for word in words),
            given[len(" ".join(words)) :] == ending,
        )
        missing = [name for name, held in zip(("number", "words", "letters", "ending"), holds, strict=True) if not held]
        return Grade(sum(holds) / 8, False, " ".join(missing)) if missing else Grade(1.0, True)
