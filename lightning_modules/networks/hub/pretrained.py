"""Any causal or sequence-to-sequence model of the transformers library as an ``Answerer``, whole or with LoRA adapters.

LoRA: arXiv 2106.09685; NF4 (QLoRA): arXiv 2305.14314.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from data.files.sources import locate_weights
from lightning_modules.base import Optimiser
from lightning_modules.networks.answerer.causal import CausalAnswerer
from lightning_modules.networks.answerer.interface import Answerer
from lightning_modules.networks.answerer.seq2seq import Seq2SeqAnswerer
from lightning_modules.networks.answerer.transformer import TransformerAnswerer
from lightning_modules.networks.architecture import configuration
from lightning_modules.networks.hub.agreement import check_agreement, check_answers
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.hub.chat_format import ChatFormat
from lightning_modules.networks.hub.chat_turns import check_wrapper
from lightning_modules.networks.hub.gguf import loadable
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.precision import checked_dtype

_ANSWERERS = {"causal": CausalAnswerer, "seq2seq": Seq2SeqAnswerer}


class Lora:
    """Low-rank adapters: only they are trained.

    Args:
        r: rank.
        alpha: the update is scaled by alpha / r.
        dropout: on the adapters' input.
        target_modules: names of the linear layers that get one.
    """

    def __init__(self, *, r: int, alpha: float, dropout: float, target_modules: Sequence[str]) -> None:
        if r < 1:
            raise ValueError(f"lora.r must be at least 1, got {r}")
        if not alpha > 0:
            raise ValueError(f"lora.alpha must be above 0, got {alpha}")
        if not 0 <= dropout < 1:
            raise ValueError(f"lora.dropout must be at least 0 and below 1, got {dropout}")
        if not target_modules:
            raise ValueError("lora.target_modules names no layer: give some, such as [q_proj, v_proj]")
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.target_modules = tuple(target_modules)

    def wrap(self, model: Any, *, quantised: bool, gradient_checkpointing: bool) -> nn.Module:
        """``model`` frozen, with trainable adapters. ``ValueError`` where it has no layer of the given names."""
        import peft

        if quantised:
            model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=gradient_checkpointing)
        elif gradient_checkpointing:
            model.enable_input_require_grads()
        config = peft.LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # a scale, whole or not
            lora_dropout=self.dropout,
            target_modules=list(self.target_modules),
            bias="none",
        )
        return peft.get_peft_model(model, config)


class Pretrained:
    """A model by its weights, or randomly initialised from its architecture where ``weights`` is null.

    Args:
        kind: "causal" (decoder only) or "seq2seq".
        weights: folder, GGUF file, hub id or package, see ``sources.locate_weights``; ``None`` draws random weights.
        revision: of a hub id.
        architecture: ``model_type`` and sizes as the transformers library names them. They make random weights; loaded
            weights must agree with them.
        tokenizer: ``{weights, revision}`` of the tokenizer where it is not beside the weights.
        prompt_limit: longest prompt in tokens.
        prompt_wrapper: ``None`` sets prompts and responses by the tokenizer's own chat template, and is refused where
            it has none. Else text around them, see ``chat_format.ChatFormat``; "{prompt}" adds nothing.
        system: system message of the chat template; ``None``: its own default, if any.
        answer_prefix: text that opens every answer; " " for tokenizers that mark a word by the space before it.
        weights_dtype: of loaded weights: how frozen ones are kept. What is trained is kept in 32 bits, see
            ``lightning_modules.networks.precision``.
        lora: adapters; ``None`` trains all weights.
        quantisation: "nf4" loads the weights in 4 bits (CUDA only; needs ``lora`` for training).
        gradient_checkpointing: compute activations twice instead of keeping them.
        optimiser: how these weights are best trained.
    """

    def __init__(
        self,
        *,
        kind: Literal["causal", "seq2seq"],
        weights: str | None,
        architecture: Mapping[str, Any],
        prompt_limit: int,
        optimiser: Optimiser,
        revision: str | None = None,
        tokenizer: Mapping[str, Any] | None = None,
        prompt_wrapper: str | None = None,
        system: str | None = None,
        answer_prefix: str = "",
        weights_dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        lora: Lora | None = None,
        quantisation: Literal["nf4"] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        if kind not in _ANSWERERS:
            raise ValueError(f"model.kind must be causal or seq2seq, got {kind!r}")
        if weights is None and tokenizer is None:
            raise ValueError("model.tokenizer must be given where model.weights is null: random weights bring none")
        if prompt_limit < 1:
            raise ValueError(f"model.prompt_limit must be at least 1 token, got {prompt_limit}")
        check_wrapper(prompt_wrapper, system)
        if quantisation not in (None, "nf4"):
            raise ValueError(f"model.quantisation must be nf4 or null, got {quantisation!r}")
        if quantisation and (weights is None or lora is None):
            raise ValueError("model.quantisation=nf4 needs model.weights to quantise and model.lora to train")
        self.kind = kind
        self.weights = weights
        self.revision = revision
        self.architecture = dict(architecture)
        self.tokenizer = dict(tokenizer) if tokenizer else None
        self.prompt_limit = prompt_limit
        self.prompt_wrapper = prompt_wrapper
        self.system = system
        self.answer_prefix = answer_prefix
        self.weights_dtype = checked_dtype(weights_dtype, key="model.weights_dtype")
        self.lora = lora
        self.quantisation = quantisation
        self.gradient_checkpointing = gradient_checkpointing
        self.optimiser = optimiser

    def build(self) -> Answerer:
        """Load (or draw) weights and tokenizer.

        Raises:
            ValueError: weights that contradict ``architecture``, a tokenizer too large for the model, no CUDA or no
                bitsandbytes for NF4, a model that differs here from its own forward pass.
        """
        answerer = self._answerer()
        check_answers(answerer, name=self._name(), kept=self.weights_dtype, key=("answers", *self._key()))
        return answerer

    def _answerer(self) -> TransformerAnswerer:
        from transformers import AutoTokenizer

        if self.quantisation:
            self._check_quantisation()
        folder = self._folder()
        source = self.tokenizer or {"weights": self.weights, "revision": self.revision}
        beside = loadable(locate_weights(str(source["weights"]), source.get("revision")))
        tokenizer = AutoTokenizer.from_pretrained(beside)
        config = configuration(self.architecture, folder)
        # What is wrong with the texts is said before gigabytes of weights are made.
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size}: take the model's own"
            )
        form = ChatFormat(
            tokenizer,
            wrapper=self.prompt_wrapper,
            system=self.system,
            answer_prefix=self.answer_prefix,
            prompt_limit=self.prompt_limit,
            stops=_stops(config, tokenizer, folder),
            encoder=self.kind == "seq2seq",
        )
        model = self._network(folder)
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if self.lora:
            model = self.lora.wrap(
                model, quantised=bool(self.quantisation), gradient_checkpointing=self.gradient_checkpointing
            )
        return _ANSWERERS[self.kind](model, form, pretrained=folder is not None)

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        """See ``LanguageModelConfig``; the weights and the tokenizer of ``build``. ``ValueError`` for kind seq2seq."""
        if self.kind != "causal":
            raise ValueError(f"this method needs a causal model, model.kind is {self.kind!r}: choose another model")
        answerer = cast(CausalAnswerer, self._answerer())
        limit = getattr(answerer.model.config, "max_position_embeddings", self.prompt_limit)
        network = HubCausal(answerer.model, limit=limit, padding=answerer.padding)
        built = LanguageModel(network, answerer.form, pretrained=not answerer.is_new(""))
        check_agreement(built, name=self._name(), kept=self.weights_dtype, key=self._key())
        return built

    def _name(self) -> str:
        """What errors call the model."""
        return f"a random {self.architecture.get('model_type')}" if self.weights is None else self.weights

    def _folder(self) -> Path | None:
        return loadable(locate_weights(self.weights, self.revision)) if self.weights else None

    def _key(self) -> tuple[Hashable, ...]:
        """What a comparison with the library's own forward pass depends on."""
        folder = self._folder()
        files = sorted(folder.iterdir()) if folder else []
        state = tuple((str(file), file.stat().st_mtime_ns) for file in files)
        sizes = repr(sorted(self.architecture.items()))
        return (self.kind, state, sizes, self.weights_dtype, self.quantisation, self.lora is not None)

    def skeleton(self) -> nn.Module:
        """The network on the meta device, with its adapters: shapes without storage, from ``architecture`` alone."""
        with torch.device("meta"):
            model = self._network(None)
            return self.lora.wrap(model, quantised=False, gradient_checkpointing=False) if self.lora else model

    def _network(self, folder: Path | None) -> Any:
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        family: Any = AutoModelForCausalLM if self.kind == "causal" else AutoModelForSeq2SeqLM
        config = configuration(self.architecture, folder)
        if folder is None:
            try:
                return family.from_config(config)
            except ValueError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(f"model.architecture makes no {self.kind} model: {reason}") from None
        return family.from_pretrained(
            folder, config=config, dtype=self.weights_dtype, quantization_config=self.quantisation_config()
        )

    def quantisation_config(self) -> Any:
        """How the weights are loaded: ``None`` as they are, else NF4 without double quantisation, as in CRE_PTM."""
        from transformers import BitsAndBytesConfig

        if not self.quantisation:
            return None
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=self.weights_dtype,
            bnb_4bit_use_double_quant=False,
        )

    @staticmethod
    def _check_quantisation() -> None:
        if not torch.cuda.is_available():
            raise ValueError("model.quantisation=nf4 needs a CUDA device: set model.quantisation=null on this machine")
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ValueError(
                "model.quantisation=nf4 needs bitsandbytes: install it (pip install -e '.[qlora]'), or set "
                "model.quantisation=null"
            )


def _stops(config: Any, tokenizer: Any, folder: Path | None) -> list[int]:
    """Ids at which a model's makers end what it generates; random weights have no makers, but may lack an end token."""
    from transformers import GenerationConfig

    if folder is None and (tokenizer.eos_token_id is not None or tokenizer.sep_token_id is not None):
        return []
    named = None
    if folder is not None and (folder / "generation_config.json").is_file():
        named = GenerationConfig.from_pretrained(folder).eos_token_id
    named = config.eos_token_id if named is None else named
    return list(named) if isinstance(named, list | tuple) else [] if named is None else [named]
