"""Token lists with two entity spans as tagged sentences: what corpora of tokens have in common."""

from __future__ import annotations

from collections.abc import Sequence

from data.files.rows import BadRowError


def tag_spans(
    tokens: Sequence[str], head: tuple[int, int], tail: tuple[int, int], *, where: str = "tokens"
) -> tuple[str, str, str]:
    """Join tokens by spaces with <e1>..</e1> around the head and <e2>..</e2> around the tail: (text, head, tail).

    Args:
        tokens: the sentence.
        head, tail: first position and the one after the last, counted from 0; either entity may stand first.
        where: what the errors call it.

    Raises:
        BadRowError: spans that are empty, reach out of the sentence or overlap; tokens that hold an entity tag.
    """
    for name, (start, end) in (("head", head), ("tail", tail)):
        if not 0 <= start < end <= len(tokens):
            raise BadRowError(f"{where}: the {name} spans {start}..{end}, wanted: a run inside 0..{len(tokens)}")
    if max(head[0], tail[0]) < min(head[1], tail[1]):
        raise BadRowError(f"{where}: head {head} and tail {tail} overlap; marked pairs must be disjoint")
    if any(tag in token for token in tokens for tag in ("<e1>", "</e1>", "<e2>", "</e2>")):
        raise BadRowError(f"{where}: a token holds an entity tag already: give plain tokens")
    words = list(tokens)
    for tag, (start, end) in (("e1", head), ("e2", tail)):
        words[start] = f"<{tag}>{words[start]}"
        words[end - 1] = f"{words[end - 1]}</{tag}>"
    return " ".join(words), " ".join(tokens[slice(*head)]), " ".join(tokens[slice(*tail)])
