"""Objectives as their config files say them."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "objective"
OBJECTIVES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def objective(name, **changed):
    """The objective of ``conf/objective/<name>.yaml``, with other numbers where they are given."""
    return instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"), **changed)
