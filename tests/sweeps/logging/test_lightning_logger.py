"""Lightning's logger interface over a run's log, in a real fit."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from sweeps.logging.lightning_logger import RunLogger
from tests.sweeps.logging.test_run_log import open_log, rows


class Line(LightningModule):
    """Least squares of one weight: w starts at 0, the loss is (w - 1)^2, and a step of 0.25 halves the error."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.save_hyperparameters({"size": 1})

    def training_step(self, batch, index):
        loss = (self.weight - 1).square()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(4))


def test_a_fit_logs_its_metrics(tmp_path):
    with open_log(tmp_path) as log:
        trainer = Trainer(
            max_epochs=1,
            log_every_n_steps=1,
            logger=RunLogger(log),
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Line())
    found = rows(tmp_path)
    # Errors 1, 1/2, 1/4, 1/8, squared.
    assert [row["train/loss"] for row in found] == [1.0, 0.25, 0.0625, 0.015625]
    assert [row["step"] for row in found] == [0, 1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_metrics_without_a_step_are_refused(tmp_path):
    with open_log(tmp_path) as log, pytest.raises(ValueError, match="came without a step"):
        RunLogger(log).log_metrics({"a": 1.0})
