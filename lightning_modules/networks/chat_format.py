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

from lightning_modules.networks.answerer import check_prompt_lengths
from lightning_modules.networks.hub_tokenizer import RESERVED, HubTokenizer

PLAIN = "{prompt}"
"""The wrapper that adds nothing."""

_ASKED, _SAID = f"{RESERVED}\u28fe", f"{RESERVED}\u28f7"
"""Stand for what a user and the assistant say while a template is looked at."""

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
        if wrapper is None and not tokenizer.chat_template:
            raise ValueError(
                "model.prompt_wrapper is null, which stands for the tokenizer's own chat template, but "
                f"{tokenizer.name_or_path or 'this tokenizer'} has none: set it to '{PLAIN}' for prompts as they are, "
                "or to the text around them"
            )
        check_wrapper(wrapper, system)
        self.tokenizer = tokenizer
        self.prompt_limit = prompt_limit
        self.speaks = wrapper != PLAIN
        self._wrapper, self._system, self._answer_prefix, self._encoder = wrapper, system, answer_prefix, encoder
        self._pieces = HubTokenizer(tokenizer, literals=self._literals())
        self._start, self._close = _added(tokenizer)
        self._look(list(stops))
        self._check()

    def _literals(self) -> str:
        """What the format writes itself."""
        if self._wrapper is not None:
            return self._wrapper
        talk = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}]
        return f"{self.tokenizer.chat_template}\0{self._rendered(talk, open_ended=False)}"

    def _look(self, stops: list[int]) -> None:
        """Find what stands between a prompt and its response, and what ends a turn."""
        self._opened = self._text(_ASKED)
        if self._system is not None and self._system.strip() not in self._pieces.spelling(self._opened):
            raise ValueError(
                "the tokenizer's chat template drops model.system: set it to null, or put it into the prompts"
            )
        behind = _behind(self._opened, _ASKED)
        last = self._pieces.marks(behind)
        self._before_response = behind[last[-1][0] :] if last else behind
        self._tail = _behind(self._text(_ASKED, _SAID), _SAID)
        marks = self._pieces.marks(self._tail)
        place, mark = marks[0] if marks else (0, "")
        self._ending = self._tail[: place + len(mark)]
        own = [self.tokenizer.eos_token_id, self.tokenizer.sep_token_id, *stops]
        known = [self._pieces.mark_id(mark)] if mark else [index for index in own if index is not None]
        if not known:
            raise ValueError("the tokenizer has neither an end nor a separator token: answers could not end")
        self.end: int = known[0]
        self.ends = frozenset({self.end, *stops, *([] if own[0] is None else own[:1])})
        self.padding: int = self.end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        closing = self.tokenizer.convert_ids_to_tokens(self.end)
        self._closing = self._pieces.mark(closing)

    def _check(self) -> None:
        """Refuse where an ordinary prompt would be cut otherwise than the library cuts it."""
        system = self._system or ""
        if self._wrapper is None and self._pieces.veiled(system) == system:
            messages = [{"role": "system", "content": system}] if system else []
            messages += [{"role": "user", "content": _ORDINARY}]
            wanted = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        elif self._wrapper is None:
            return
        else:
            before, after, _ = _parts(self._wrapper)
            wanted = self.tokenizer(before + _ORDINARY + after, add_special_tokens=False)["input_ids"]
        if self._pieces.ids([self._text(_ORDINARY)])[0] != list(wanted):
            raise ValueError(
                f"the tokenizer {type(self.tokenizer).__name__} cuts prompts otherwise than its tokenizer.json says: "
                "give weights whose tokenizer the transformers library reads as it stands"
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
            rest = _behind(self._text(_ASKED, _SAID, text), _SAID)
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
        begun = self._text(prompt)
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
        rows = self._pieces.ids([self._text(text) for text in texts])
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
        whole = self._text(_ASKED, text)
        if whole.startswith(self._opened):
            whole = whole.removeprefix(self._opened)
        else:  # a prompt may open what the template leaves out of a finished turn, such as <think>
            whole = self._pieces.written(self._pieces.veiled(text)) + self._tail
        if not whole.endswith(self._tail):
            raise ValueError(f"the chat template ends the response {text[:40]!r} otherwise than others: leave it out")
        return whole[: len(whole) - len(self._tail)] + self._ending

    def _text(self, *said: str) -> str:
        """What user and assistant say in turns, the user first; if the user was last, up to the assistant's answer."""
        veiled = [text if text is _ASKED or text is _SAID else self._pieces.veiled(text) for text in said]
        if self._wrapper is not None:
            before, after, tail = _parts(self._wrapper)
            turns = (text + tail if at % 2 else before + text + after for at, text in enumerate(veiled))
            return self._pieces.written("".join(turns))
        messages = [] if self._system is None else [{"role": "system", "content": self._pieces.veiled(self._system)}]
        messages += [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(veiled)]
        return self._pieces.written(self._rendered(messages, open_ended=len(said) % 2 == 1))

    def _rendered(self, messages: list[dict[str, str]], *, open_ended: bool) -> str:
        import jinja2

        try:
            rendered: str = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=open_ended, tokenize=False
            )
        except (jinja2.TemplateError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            what = "model.system" if self._system is not None else "the messages"
            raise ValueError(
                f"the tokenizer's chat template refuses {what} ({reason}): put a system message into the prompts, or "
                "set model.prompt_wrapper"
            ) from None
        return rendered


def check_wrapper(wrapper: str | None, system: str | None) -> None:
    """``ValueError`` for a text that does not hold {prompt} once and, if at all, {response} once behind it, or for a
    system message beside it."""
    if wrapper is None:
        return
    if system is not None:
        raise ValueError("model.system goes with a chat template: write it into model.prompt_wrapper")
    prompts, responses = wrapper.count("{prompt}"), wrapper.count("{response}")
    if prompts != 1 or responses > 1 or (responses and wrapper.index("{response}") < wrapper.index("{prompt}")):
        raise ValueError(
            f"model.prompt_wrapper must hold {{prompt}} once and may hold {{response}} once behind it, got {wrapper!r}"
        )


def _parts(wrapper: str) -> tuple[str, str, str]:
    """Before the prompt, between prompt and response, behind the response."""
    before, _, rest = wrapper.partition("{prompt}")
    after, _, tail = rest.partition("{response}")
    return before, after, tail


def _behind(written: str, said: str) -> str:
    """What stands behind a text in a format; ``ValueError`` where the format leaves the text out."""
    place = written.rfind(said)
    if place < 0:
        raise ValueError("the tokenizer's chat template leaves out what was said: set model.prompt_wrapper")
    return written[place + len(said) :]


def _added(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that a tokenizer puts before and behind every text."""
    whole, own = (list(tokenizer("a", add_special_tokens=added)["input_ids"]) for added in (True, False))
    for place in range(len(whole) - len(own) + 1):
        if whole[place : place + len(own)] == own:
            return whole[:place], whole[place + len(own) :]
    raise ValueError(f"the tokenizer {type(tokenizer).__name__} cuts a text otherwise where it adds tokens")
