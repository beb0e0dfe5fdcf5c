"""From free text to a label: the refinement step of RAG4RE (arXiv 2404.13397), made deterministic.

The released rule takes the text after the last space and last colon and maps that suffix to the first full label that
ends in it (T5), or looks for labels as substrings (decoder models); in both the first label in list order wins, and the
list came from an unordered set.

Departures:
    1. Labels are tried longest first, so that none hides inside another ("member of" in "ex-member of"); of labels of
       the same length the one that stands first in the text wins, then the order of the inventory.
    2. A label only counts as whole words: "another" is not Other.
    3. Case, and spaces around punctuation, do not matter. The release lower-cased labels but not SemEval's predictions.
    4. A suffix ("title" for "per:title") only counts when exactly one label has it. The release took the first, or
       guessed the prefix from the entity's type.
    5. A relation without its direction is no answer, as in the release: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def label_of(output: str, labels: Sequence[str]) -> str:
    """The label that a generated text names.

    Args:
        output: the completion alone, without the prompt.
        labels: the inventory.

    Returns:
        One of ``labels``, or "" when the text names none: an invalid answer.
    """
    found = []
    for position, label in enumerate(labels):
        match = _pattern(label).search(output)
        if match:
            found.append((-len(label), match.start(), position, label))
    if found:
        return min(found)[-1]
    words = output.split()
    last = words[-1].strip(".,;!?\"'").rpartition(":")[2].casefold() if words else ""
    endings = [label for label in labels if ":" in label and label.rpartition(":")[2].casefold() == last]
    return endings[0] if last and len(endings) == 1 else ""


@lru_cache(maxsize=4096)
def _pattern(label: str) -> re.Pattern[str]:
    """``label`` as whole words, in any case, with any spaces around its punctuation."""
    pieces = re.findall(r"\w+|\s+|[^\w\s]", label)
    body = ""
    for index, piece in enumerate(pieces):
        if piece.isspace():
            body += r"\s+"
        else:
            beside_space = index and pieces[index - 1].isspace()
            both_words = index and piece[0].isalnum() and pieces[index - 1][-1].isalnum()
            body += ("" if not index or beside_space or both_words else r"\s*") + re.escape(piece)
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)
