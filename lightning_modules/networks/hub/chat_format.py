"""How a model of the transformers library is spoken to: one path from texts to ids and back, for whoever uses it.

Policy, reference, source, reader, answerer and harness all read a prompt as the tokenizer's own chat template sets it,
and a response as the template sets what the assistant says, up to and including the end of its turn. A model without a
template has a wrapper in its place. Data stay text, whatever they look like (``hub_tokenizer``).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from lightning_modules.networks.answerer.interface import check_prompt_lengths
from lightning_modules.networks.hub.chat_turns import ASKED, SAID, Turns, behind

_ORDINARY = "Which river, of 3 or 4, is long?\nSay it."


class ChatFormat:
    """A tokenizer with the format that its model was trained in, as a ``language_model.Codec``.

    Args:
        tokenizer: a fast one of the transformers library.
        wrapper: ``None`` is the tokenizer's own chat template. Else text with {prompt} and perhaps, behind it,
            {response} and what ends a turn, such as "<|user|>{prompt}<|end|><|assistant|>{response}<|end|>"; without
            {response} a turn ends with the tokenizer's end token. A start token is the tokenizer's affair.
        system: message before the prompt, in place of the template's own, if any.
        answer_prefix: text that opens every response.
        prompt_limit: longest prompt in tokens; ``None`` refuses none.
        stops: further ids that end what is generated; the first one ends turns where nothing else does.
        encoder: prompts are read by an encoder and closed as its tokenizer closes texts; responses begin a document.

    Attributes:
        end: id that closes every response.
        ends: all ids that end what is generated.
        padding: id that fills rows.
        speaks: whether there are turns, so that what follows a response is set as a turn of its own.

    Raises:
        ValueError: no template where one is wanted, one that cannot set a turn or the system message, no end token, a
            tokenizer that cuts ordinary prompts otherwise than the library does.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        wrapper: str | None = None,
        system: str | None = None,
        answer_prefix: str = "",
        prompt_limit: int | None = None,
        stops: Sequence[int] = (),
        encoder: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.prompt_limit = prompt_limit
        self._wrapper, self._system, self._answer_prefix, self._encoder = wrapper, system, answer_prefix, encoder
        named = (tokenizer.eos_token_id, tokenizer.sep_token_id, *stops)
        known = [index for index in named if index is not None]
        end = tokenizer.convert_ids_to_tokens(known[0]) or "" if known else ""
        self._turns = Turns(tokenizer, wrapper=wrapper, system=system, end=end)
        self._pieces = self._turns.pieces
        self.speaks = self._turns.speaks
        self._start, self._close = _added(tokenizer)
        self._opened = self._turns.text(ASKED)
        after = behind(self._opened, ASKED)
        marks = self._pieces.marks(after)
        self._before_response = after[marks[-1][0] :] if marks else after
        self._tail = behind(self._turns.text(ASKED, SAID), SAID)
        place, mark = next(iter(self._pieces.marks(self._tail)), (0, ""))
        self._ending = self._tail[: place + len(mark)]
        if not mark and not known:
            raise ValueError("the tokenizer has neither an end nor a separator token: answers could not end")
        self.end: int = self._pieces.mark_id(mark) if mark else known[0]
        self.ends = frozenset({self.end, *stops, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])})
        self.padding: int = self.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._closing = self._pieces.mark(tokenizer.convert_ids_to_tokens(self.end))
        wanted = self._turns.library_ids(_ORDINARY)
        if wanted is not None and self._pieces.ids([self._turns.text(_ORDINARY)])[0] != wanted:
            raise ValueError(
                f"the tokenizer {type(tokenizer).__name__} cuts prompts otherwise than its tokenizer.json says: give "
                "weights whose tokenizer the transformers library reads as it stands"
            )

    def __deepcopy__(self, memo: Any) -> ChatFormat:
        return self  # nothing in it changes: a copied model shares it

    @property
    def identity(self) -> str:
        """Digest of all that decides which ids a text becomes."""
        template = self.tokenizer.chat_template if self._wrapper is None else None
        parts = [self._pieces.spelt, template, self._wrapper, self._system, self._answer_prefix, self.end]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``. ``ValueError`` for a prompt above ``prompt_limit``."""
        rows = self._prompts(texts)
        if self.prompt_limit is not None:
            check_prompt_lengths(texts, [len(row) for row in rows], limit=self.prompt_limit)
        return rows

    def unlimited(self) -> ChatFormat:
        """The same, with prompts of any length: they can be counted, or left out by whoever reads them."""
        found = copy.copy(self)
        found.prompt_limit = None
        return found

    def count_tokens(self, text: str) -> int:
        """See ``Codec``; those of the format are counted too."""
        return len(self._prompts([text])[0])

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: as the template sets them, so that some are stripped of white space at their ends."""
        written = [self._response(text) for text in texts]
        cut = (
            self._pieces.ids(written) if self._encoder else self._pieces.continued(written, after=self._before_response)
        )
        return cut if self._ending else [[*ids, self.end] for ids in cut]

    def further_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: the end of the turn before it, the further prompt, and what opens the next response."""
        written = []
        for text in texts:
            rest = behind(self._turns.text(ASKED, SAID, text), SAID)
            written.append(self._closing + rest.removeprefix(self._ending))
        if not self._closing:
            return self._pieces.continued(written)
        return [ids[1:] for ids in self._pieces.ids(written)]

    def read_back(self, response: Sequence[int]) -> list[int]:
        """See ``Codec``: with turns it ends in any case."""
        ids = list(response[:-1] if response and response[-1] in self.ends else response)
        return [*ids, self.end] if self.speaks else ids

    def continued(self, prompt: str, text: str) -> tuple[list[int], list[int]]:
        """See ``Codec``: encoded together and cut where the prompt ends, whose last white space goes to the text.

        That is how the lm-eval harness encodes contexts and continuations.
        """
        begun = self._turns.begun(prompt)
        kept = begun.rstrip()
        head, whole = self._pieces.ids([kept, begun + self._pieces.written(self._pieces.veiled(text))])
        return self._started(head), whole[len(head) :]

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """See ``Codec``; without special tokens and white space at the ends."""
        cut = [next((row[:at] for at, index in enumerate(row) if index in self.ends), row) for row in rows]
        return [self.tokenizer.decode(list(row), skip_special_tokens=True).strip() for row in cut]

    def spelt(self, response: str) -> str:
        """The text of ``response_ids`` without its end: what a source's tokens must spell."""
        head = self._pieces.spelling(self._before_response)
        whole = self._pieces.spelling(self._before_response + self._response(response)).removeprefix(head)
        return whole.removesuffix(self._pieces.spelling(self._closing)) if self._ending else whole

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id. ``ValueError`` for a tokenizer whose pieces do not spell its texts."""
        return self._pieces.pieces(ids)

    def _prompts(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self._pieces.ids([self._turns.begun(text) for text in texts])
        return [self._started(ids) for ids in rows]

    def _started(self, ids: list[int]) -> list[int]:
        """Prompt ids with what opens a document; a template writes that itself. Never empty."""
        if self._wrapper is not None and ids[: len(self._start)] != self._start:
            ids = self._start + ids
        if self._encoder:
            ids = ids + self._close
        if ids:
            return ids
        start = self.tokenizer.bos_token_id
        return [self.end if start is None else start]

    def _response(self, text: str) -> str:
        """A response up to and including the mark of its end, as ``hub_tokenizer`` wants it."""
        text = self._answer_prefix + text
        whole = self._turns.text(ASKED, text)
        if whole.startswith(self._opened):
            whole = whole.removeprefix(self._opened)
        else:  # a prompt may open what the template leaves out of a finished turn, such as <think>
            whole = self._pieces.written(self._pieces.veiled(text)) + self._tail
        if not whole.endswith(self._tail):
            raise ValueError(f"the chat template ends the response {text[:40]!r} otherwise than others: leave it out")
        return whole[: len(whole) - len(self._tail)] + self._ending


def _added(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that a tokenizer puts before and behind every text."""
    whole, own = (list(tokenizer("a", add_special_tokens=added)["input_ids"]) for added in (True, False))
    for place in range(len(whole) - len(own) + 1):
        if whole[place : place + len(own)] == own:
            return whole[:place], whole[place + len(own) :]
    raise ValueError(f"the tokenizer {type(tokenizer).__name__} cuts a text otherwise where it adds tokens")
