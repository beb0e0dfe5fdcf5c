"""A reward model of the hub as judge: a sequence classifier of the transformers library whose one logit is the reward.

Such as Skywork-Reward-Gemma-2-27B-v0.2 (arXiv 2410.18451), InfiFPO's: a conversation of prompt and response, set by the
tokenizer's own chat template, in; a number out. Rewards are a stage that goes on where it was interrupted. Torch and
transformers are imported where they are used.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from data.files.jsonl import read_lines, resume_lines
from data.files.sources import digest_of, locate_weights, weights_digest
from data.files.stages import Stages

SHARD = 256
"""Texts of a shard: what an interruption loses at most."""

DTYPES = ("float32", "bfloat16", "float16")
_FILE = "rewards.jsonl"


class RewardModel:
    """Pays responses.

    Args:
        weights: folder or hub id, see ``sources.locate_weights``; a hub id is looked up in the local cache alone.
        revision: of a hub id.
        template: text with {prompt} and then {response}, for weights that bring no chat template or another one than
            they were trained with; ``None``: the tokenizer's own.
        max_tokens: longest conversation; a longer one is not cut but gets no reward. ``None``: what the model reads.
        batch_size: conversations at a time. Those of like length go together; padding changes no reward.
        weights_dtype: how the weights are kept, and computed with. Gemma 2 overflows in float16.
        device: such as "cuda:1"; ``None``: a GPU if there is one.
    """

    def __init__(
        self,
        *,
        weights: str,
        revision: str | None = None,
        template: str | None = None,
        max_tokens: int | None = None,
        batch_size: int = 8,
        weights_dtype: str = "bfloat16",
        device: str | None = None,
    ) -> None:
        if template is not None and not re.fullmatch(r"[^{}]*\{prompt\}[^{}]*\{response\}[^{}]*", template):
            raise ValueError(f"judge.template must hold {{prompt}} and then {{response}}, each once, got {template!r}")
        for key, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"judge.{key} must be at least 1, got {value}")
        if weights_dtype not in DTYPES:
            raise ValueError(f"judge.weights_dtype must be one of {', '.join(DTYPES)}, got {weights_dtype!r}")
        if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise ValueError(f"judge.device must be cpu, cuda, cuda:<number> or null, got {device!r}")
        self.weights = weights
        self.revision = revision
        self.template = template
        self.max_tokens = max_tokens
        self.batch_size = int(batch_size)
        self.weights_dtype = weights_dtype
        self.device = device
        self._tokenizer: Any = None

    def rewards(
        self,
        stages: Stages,
        texts: Sequence[tuple[str, str]],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """Rewards of (prompt, response) texts, a stage; NaN for a conversation that is longer than the model reads.

        The stage is named by weights, tokenizer, template and texts, in whatever order these come.

        Raises:
            DataNotFoundError: the weights are not on this machine.
            ValueError: weights without a reward head or a chat template, or a reward that is not finite.
        """
        # The longest first: what does not fit into memory shows at once.
        order = sorted(set(texts), key=lambda text: (-len(text[0]) - len(text[1]), text))
        folder = locate_weights(self.weights, self.revision)
        key = {
            "weights": weights_digest(folder),
            "template": self.template or hashlib.sha256(self._chat_template(folder).encode()).hexdigest(),
            "max_tokens": self.max_tokens,
            "weights_dtype": self.weights_dtype,
            "control_tokens": "of the template alone",
            "texts": digest_of(hashlib.sha256(json.dumps(text).encode()).hexdigest() for text in order),
            "shard": SHARD,
        }

        def build(place: Path) -> None:
            model: list[Any] = []

            def shard(number: int) -> list[float | None]:
                if not model:
                    model.append(self._load(folder))
                return self._paid(model[0], order[number * SHARD : (number + 1) * SHARD])

            def told(done: int, total: int) -> None:
                if progress is not None:
                    progress(min(done * SHARD, len(order)), len(order))

            resume_lines(place / _FILE, -(-len(order) // SHARD), shard, told)

        lines = read_lines(stages.get("rewards", key, build) / _FILE)
        paid = dict(zip(order, (value for line in lines for value in line), strict=True))
        return [math.nan if (reward := paid[text]) is None else float(reward) for text in texts]

    def ids(self, prompt: str, response: str) -> list[int]:
        """Ids of a conversation: the template's text behind one start token, where the tokenizer or the template has
        one. What looks like a control token in prompt or response stays text; ``rewards`` loads the tokenizer.
        """
        talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        found: list[int] = self._tokenizer.apply_chat_template(
            talk, chat_template=self._own_template(), sanitize_control_tokens=True, return_dict=False
        )
        whole, bare = (self._tokenizer("a", add_special_tokens=added)["input_ids"] for added in (True, False))
        place = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        opening, closing = whole[:place], whole[place + len(bare) :]
        begun = found[: len(opening)] == opening
        return [*([] if begun else opening), *found, *closing]

    def _own_template(self) -> str | None:
        """``template`` as a chat template of one question and one answer."""
        if self.template is None:
            return None
        before, _, rest = self.template.partition("{prompt}")
        between, _, after = rest.partition("{response}")
        written = (json.dumps(text, ensure_ascii=False) for text in (before, between, after))
        said = (f"messages[{at}]['content']" for at in (0, 1))
        return "{{ " + " ~ ".join(chain.from_iterable(zip_longest(written, said, fillvalue="''"))) + " }}"

    def _chat_template(self, folder: Path) -> str:
        from transformers import AutoTokenizer

        if self._tokenizer is None:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        if self.template is None and not self._tokenizer.chat_template:
            raise ValueError(
                f"the tokenizer of {self.weights} brings no chat template: give judge.template, a text with {{prompt}} "
                "and {response}"
            )
        return str(self._tokenizer.chat_template)

    def _load(self, folder: Path) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"judge.device is {device} and there is no GPU here: set it to cpu, or to null")
        self._chat_template(folder)
        shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # what it would warn of is refused below
        try:
            model, told = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                num_labels=1,
                dtype=getattr(torch, self.weights_dtype),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ValueError(f"{self.weights} is no model that gives rewards ({reason}): take another judge") from None
        finally:
            logging.set_verbosity(verbosity)
            if shown:
                logging.enable_progress_bar()
        drawn = sorted([*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])])
        if drawn:
            raise ValueError(
                f"{self.weights} has no head of one logit ({', '.join(drawn[:3])} would be drawn at random): take "
                "weights that were trained as a reward model"
            )
        return model.to(device).eval()

    def _paid(self, model: Any, texts: Sequence[tuple[str, str]]) -> list[float | None]:
        """Rewards of texts, ``None`` for those that are too long."""
        import torch

        config = model.config.get_text_config()
        most = self.max_tokens or getattr(config, "max_position_embeddings", None) or math.inf
        rows = [self.ids(*text) for text in texts]
        order = sorted((row for row in range(len(rows)) if len(rows[row]) <= most), key=lambda row: -len(rows[row]))
        found: list[float | None] = [None] * len(rows)
        own = config.pad_token_id
        for begin in range(0, len(order), self.batch_size):
            chosen = order[begin : begin + self.batch_size]
            # The reward is read at the last id that is no padding. Without an id of its own for that the model takes
            # any that the batch has not: one that a conversation ends with would move the reward.
            used = {index for row in chosen for index in rows[row]}
            padding = own if own is not None else next(index for index in range(len(used) + 1) if index not in used)
            config.pad_token_id = padding
            width = max(len(rows[row]) for row in chosen)
            ids = torch.tensor([rows[row] + [padding] * (width - len(rows[row])) for row in chosen])
            mask = torch.tensor([[1] * len(rows[row]) + [0] * (width - len(rows[row])) for row in chosen])
            with torch.inference_mode():
                logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
            for row, reward in zip(chosen, logits[:, 0].double().tolist(), strict=True):
                found[row] = reward
        config.pad_token_id = own
        bad = [row for row in order if not math.isfinite(found[row])]  # type: ignore[arg-type]  # read, so a number
        if bad:
            raise ValueError(
                f"{self.weights} pays {texts[bad[0]][1][:60]!r} {found[bad[0]]}, which is not finite: check its "
                f"weights and judge.weights_dtype={self.weights_dtype}"
            )
        return found
