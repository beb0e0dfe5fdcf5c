"""A name for weights by their values: what stages that depend on them are called by."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def parameters_digest(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all parameters, in hexadecimal."""
    found = hashlib.sha256()
    for name, value in module.named_parameters():
        found.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()
