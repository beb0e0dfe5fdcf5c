"""What user and assistant say, as text in a model's format: by the tokenizer's chat template, or by a wrapper."""

from __future__ import annotations

from typing import Any

from data.records.texts import Conversation
from lightning_modules.networks.hub.tokenizer import RESERVED, HubTokenizer

PLAIN = "{prompt}"
"""The wrapper that adds nothing."""

ASKED, SAID = f"{RESERVED}\u28fe", f"{RESERVED}\u28f7"
"""Stand for what a user and the assistant say while a format is looked at."""


class Turns:
    """Texts as ``hub_tokenizer`` wants them: control tokens of the format are marks, what is said is text.

    Args:
        tokenizer: a fast one of the transformers library.
        wrapper, system: see ``chat_format.ChatFormat``.
        end: spelling of the token that ends a turn where a wrapper does not say it; "": none.

    Attributes:
        pieces: cuts these texts.
        speaks: whether there are turns.

    Raises:
        ValueError: no chat template where one is wanted, or one that refuses or drops what is said.
    """

    def __init__(self, tokenizer: Any, *, wrapper: str | None, system: str | None, end: str) -> None:
        check_wrapper(wrapper, system)
        if wrapper is None and not tokenizer.chat_template:
            raise ValueError(
                "model.prompt_wrapper is null, which stands for the tokenizer's own chat template, but "
                f"{tokenizer.name_or_path or 'this tokenizer'} has none: set it to '{PLAIN}' for prompts as they are, "
                "or to the text around them"
            )
        self._tokenizer, self._system = tokenizer, system
        self._around: tuple[str, str, str] | None = None
        if wrapper is not None:
            before, _, rest = wrapper.partition("{prompt}")
            after, turns, tail = rest.partition("{response}")
            self._around = before, after, tail if turns else end
        self.speaks = wrapper != PLAIN
        self.pieces = HubTokenizer(tokenizer, literals=self._literals())
        if self._around is not None and not turns and not self.pieces.marks(self.pieces.written(end)):
            self._around = before, after, ""  # an end that is no control token is no text either
        if system is not None and system.strip() not in self.pieces.spelling(self.text(ASKED)):
            raise ValueError(
                "the tokenizer's chat template drops model.system: set it to null, or put it into the prompts"
            )

    def _literals(self) -> str:
        """What the format writes itself."""
        if self._around is not None:
            return "\0".join(self._around)
        talk = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
        return f"{self._tokenizer.chat_template}\0{self._rendered(talk, open_ended=False)}"

    def text(self, *said: str) -> str:
        """What user and assistant say in turns, the user first; if the user was last, up to the assistant's answer."""
        veiled = [text if text is ASKED or text is SAID else self.pieces.veiled(text) for text in said]
        if self._around is not None:
            before, after, tail = self._around
            turns = (text + tail if at % 2 else before + text + after for at, text in enumerate(veiled))
            return self.pieces.written("".join(turns))
        messages = self._systems()
        messages += [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(veiled)]
        return self.pieces.written(self._rendered(messages, open_ended=len(said) % 2 == 1))

    def begun(self, prompt: str) -> str:
        """What stands before the response; the messages of a ``Conversation`` are turns where there are any."""
        if not self.speaks or not isinstance(prompt, Conversation):
            return self.text(prompt)
        roles, contents = zip(*prompt.messages, strict=True)
        if self._around is not None:
            taken = roles == tuple(("user", "assistant")[at % 2] for at in range(len(roles))) and len(roles) % 2
            return self.text(*contents) if taken else self.text(prompt)
        system = [] if roles[0] == "system" else self._systems()
        said = [{"role": role, "content": self.pieces.veiled(text)} for role, text in prompt.messages]
        return self.pieces.written(self._rendered([*system, *said], open_ended=True))

    def library_ids(self, prompt: str) -> list[int] | None:
        """Ids that the library itself gives an ordinary prompt; ``None`` beside a system message that is not."""
        if self._around is not None:
            before, after, _ = self._around
            return list(self._tokenizer(before + prompt + after, add_special_tokens=False)["input_ids"])
        if self._system is not None and self.pieces.veiled(self._system) != self._system:
            return None
        messages = [] if self._system is None else [{"role": "system", "content": self._system}]
        messages += [{"role": "user", "content": prompt}]
        return list(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def _systems(self) -> list[dict[str, str]]:
        if self._system is None:
            return []
        return [{"role": "system", "content": self.pieces.veiled(self._system)}]

    def _rendered(self, messages: list[dict[str, str]], *, open_ended: bool) -> str:
        import jinja2

        try:
            rendered: str = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=open_ended, tokenize=False
            )
        except (jinja2.TemplateError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            what = "a system message" if messages[0]["role"] == "system" else "the messages"
            raise ValueError(
                f"the tokenizer's chat template refuses {what} ({reason}): put it into the prompts "
                "(model.system=null), or set model.prompt_wrapper"
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


def behind(written: str, said: str) -> str:
    """What stands behind a text in a format; ``ValueError`` where the format leaves the text out."""
    place = written.rfind(said)
    if place < 0:
        raise ValueError("the tokenizer's chat template leaves out what was said: set model.prompt_wrapper")
    return written[place + len(said) :]
