"""Everything heavy that a cell needs, imported once in the server that forks the cells.

``wandb`` is imported beside it where cells want it. Importing must start no thread of a numerical library and must not
touch CUDA: a forked child could use neither.
"""

import contextlib
import gc
import importlib
import pkgutil

# Importing makes a million objects and hardly any garbage: looking for it takes a tenth of the time.
gc.disable()

# ruff: noqa: E402
import accelerate  # noqa: F401
import datasets.io.json  # noqa: F401
import hydra.utils  # noqa: F401
import lightning.pytorch  # noqa: F401
import pandas.core.arrays.arrow.extension_types  # noqa: F401
import scipy.io  # ``datasets`` patches it for every file that it reads
import scipy.sparse  # noqa: F401
import sklearn.feature_extraction.text  # noqa: F401
import torch
import transformers.generation
import transformers.models.auto.modeling_auto
import transformers.models.bert.modeling_bert
import transformers.models.bert.tokenization_bert
import transformers.models.llama.modeling_llama
import transformers.models.t5.modeling_t5  # noqa: F401

import data.retrieval
import lightning_modules.losses
import lightning_modules.networks
import sweeps.execution.progress
import sweeps.execution.ranks
import sweeps.logging.lightning_logger
import sweeps.logging.run_log  # noqa: F401
from sweeps.execution import receipt
from sweeps.signatures import closure

for package in (data, data.retrieval, lightning_modules, lightning_modules.losses, lightning_modules.networks):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        # One that needs a package of an extra fails in the cell that wants it, with that cell's error.
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)

torch.set_num_threads(1)
receipt.lock()
closure.hold(closure.loaded())  # the cells run what is loaded here, whatever becomes of the files

# What is imported is never garbage. A collection in a child would otherwise write to every one of these objects, and so
# copy most of the server's memory, page by page, into each cell. Collecting first would take half a second to free one
# object in sixty.
gc.freeze()
gc.enable()
