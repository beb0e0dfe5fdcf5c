"""Sizes of a network as a config gives them: random weights are made from them, loaded ones must agree with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def configuration(architecture: Mapping[str, Any], folder: Path | None, **settings: Any) -> Any:
    """The transformers library's configuration of a network.

    Args:
        architecture: ``model_type`` and sizes, named as the library names them.
        folder: of weights whose own configuration is taken, once it agrees with ``architecture``; ``None``: that alone.
        settings: values that weights do not fix, such as dropout.

    Raises:
        ValueError: an unknown ``model_type``, or weights that contradict the architecture.
    """
    from transformers import AutoConfig

    sizes = {name: value for name, value in architecture.items() if name != "model_type"}
    try:
        described = AutoConfig.for_model(architecture.get("model_type", ""), **sizes, **settings)
    except ValueError:
        wanted = "give one of the transformers library, such as bert, t5, llama or mistral"
        raise ValueError(f"model.architecture.model_type is {architecture.get('model_type')!r}: {wanted}") from None
    if folder is None:
        return described
    loaded = AutoConfig.from_pretrained(folder, **settings)
    for name in architecture:
        # Some configurations turn what they are given into something else, so both are asked, not the mapping.
        found, wanted = getattr(loaded, name, None), getattr(described, name)
        if found != wanted:
            raise ValueError(
                f"the weights in {folder.name} have {name}={found!r} but model.architecture says {wanted!r}: choose "
                "the model config that belongs to them"
            )
    return loaded
