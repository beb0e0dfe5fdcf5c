"""Everything heavy that a cell needs, imported once in the server that forks the cells.

Importing must start no thread of a numerical library and must not touch CUDA: a forked child could use neither.
"""

import datasets  # noqa: F401
import lightning.pytorch  # noqa: F401
import pandas  # noqa: F401
import scipy.sparse  # noqa: F401
import sklearn.feature_extraction.text  # noqa: F401
import torch
import transformers  # noqa: F401
import wandb  # noqa: F401

import data.modules  # noqa: F401
import lightning_modules.fitting  # noqa: F401
import sweeps.run_log  # noqa: F401

torch.set_num_threads(1)
