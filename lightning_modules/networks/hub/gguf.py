"""GGUF files as folders that the transformers library reads: weights made whole again once, then kept.

Reading and dequantising SmolLM2-135M takes seventeen seconds; its safetensors half a second. The folder lies in the
cache below the digest of the file, so every process and every outputs folder shares it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from data.files.sources import digest, weights_cache

_MARK = "generation_config.json"
"""Written last: a folder without it was being written when its process ended."""


def loadable(weights: Path) -> Path:
    """A folder for ``from_pretrained``: ``weights`` itself, or what a GGUF file holds, dequantised to fp32.

    Raises:
        ValueError: a file that is no GGUF of a causal model, or no ``gguf`` package to read it with.
    """
    if weights.is_dir():
        return weights
    folder = weights_cache() / f"{digest(weights)[:16]}-float32"
    if not (folder / _MARK).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: of processes that race, the first one to end is kept.
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _dequantise(weights, partial)
            if not (folder / _MARK).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(partial, folder)
        except OSError:
            if not (folder / _MARK).is_file():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _dequantise(file: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        config = AutoConfig.from_pretrained(**where)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except ImportError:
        raise ValueError(
            f"{file.name} needs the Python package gguf: install it (pip install -e '.[weights]')"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        cause = " ".join(str(error).split())[:200]
        raise ValueError(f"{file} is not a GGUF file that the transformers library reads ({cause})") from None
    # A model read from GGUF refuses to be saved: its weights go into a fresh one.
    config.dtype = torch.float32
    fresh = AutoModelForCausalLM.from_config(config)
    fresh.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(folder)
    fresh.save_pretrained(folder)
    fresh.generation_config = read.generation_config
    fresh.generation_config.save_pretrained(folder)
