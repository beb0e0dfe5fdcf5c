"""The output vocabulary of small generators: the words of relation names, and every printable character.

It does not depend on an inventory, so that a network trained on one set of relations can be trained on, or asked about,
another. Any ASCII text can be written and is read back exactly; names made of listed words take few tokens.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

PAD, START, END = 0, 1, 2
"""Ids of the three pieces that are no text."""

DIRECTIONS = ("(e1,e2)", "(e2,e1)")
"""Directions as SemEval-2010 writes them, one piece each."""

# Words of the relation names of SemEval-2010 Task 8, TACRED, Re-TACRED, FewRel, SciERC, CoNLL04, and a few near them.
_LISTED = """
a act affiliation age agency agent alternate an and as at attended author award based biological birth body
border born branch by capital category causative cause causes charges child children cities city class
classified collection company compare competition component composer conjunction contains container content
countries country creator crosses date death destination developer director dissolved distributor effect
element employee employees engine entity evaluate event family father feature field film followed follows for
format found founded founder from function gender gene genre government group has head headquarters heritage
hyponym identity in industry instance instrument into involves is issue it kill kind label language league
license live located location manufacturer material medium member members message military mother mouth
movement name names nationality native next no none number occupation of office on operator or order org organ
organism organization orgbased origin original other owner parent parents part participant party people per
person place plays platform played political position present previous process produces product producer
production professional province published publisher purpose rank record region related relation religion
religious residence residences result role ruler schools screenwriter season series set shareholders show
sibling siblings source speciality sport spouse state stateorprovince stateorprovinces station structure
student subclass subject subsidiaries subsidiary symptom target team territory the time title to tool top
topic treats tributary tv type use used voice war water website whole winner with work works writer year
"""

WORDS = tuple(_LISTED.split())
"""Words that are one piece each: as they are, after a space or an underscore, capitalised, in capitals."""

_PARTS = re.compile(r"\(e[12],e[12]\)|[ _]?[A-Za-z]+|.", re.DOTALL)


class LabelVocabulary:
    """Text to piece ids and back.

    Attributes:
        pieces: all pieces; the id of a piece is its position.
    """

    def __init__(self) -> None:
        printable = [chr(code) for code in range(ord(" "), ord("~") + 1)]
        spelt = (form for word in WORDS for form in (word, f" {word}", f"_{word}", word.capitalize(), word.upper()))
        self.pieces = ("<pad>", "<start>", "<end>", *dict.fromkeys((*printable, *DIRECTIONS, *spelt)))
        self._ids = {piece: index for index, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Piece ids of a text, without end; a word that is not listed is spelt in characters.

        Raises:
            ValueError: a character that is not printable ASCII.
        """
        ids = []
        for part in _PARTS.findall(text):
            known = self._ids.get(part)
            if known is not None:
                ids.append(known)
                continue
            foreign = sorted(set(part) - set(string.printable[:95]))
            if foreign:
                raise ValueError(f"{text!r} has {foreign[0]!r}, but answers are printable ASCII: spell it otherwise")
            ids += [self._ids[character] for character in part]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of piece ids up to the first end; start and padding are left out."""
        stop = list(ids).index(END) if END in ids else len(ids)
        return "".join(self.pieces[index] for index in ids[:stop] if index > END)
