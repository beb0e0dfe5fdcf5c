"""Everything heavy that a cell needs, imported once in the server that forks the cells.

Importing must start no thread of a numerical library and must not touch CUDA: a forked child could use neither.
"""

import contextlib
import importlib
import pkgutil

import accelerate  # noqa: F401
import datasets  # noqa: F401
import hydra.utils  # noqa: F401
import lightning.pytorch  # noqa: F401
import pandas  # noqa: F401
import scipy.sparse  # noqa: F401
import sklearn.feature_extraction.text  # noqa: F401
import torch
import transformers.generation
import transformers.models.auto.modeling_auto
import transformers.models.bert.modeling_bert
import transformers.models.llama.modeling_llama
import transformers.models.t5.modeling_t5  # noqa: F401
import wandb  # noqa: F401

import data.retrieval
import lightning_modules.losses
import lightning_modules.networks
import sweeps.run_log  # noqa: F401
from sweeps import receipt

for package in (data, data.retrieval, lightning_modules, lightning_modules.losses, lightning_modules.networks):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        # One that needs a package of an extra fails in the cell that wants it, with that cell's error.
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)

torch.set_num_threads(1)
receipt.lock()
