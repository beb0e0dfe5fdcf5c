"""One cell after the other in the calling process: for debugging and tests."""

from __future__ import annotations

from sweeps.engines.protocol import Ended
from sweeps.execution import orders
from sweeps.run import Job, execute


class SerialEngine:
    """Runs each job inside ``poll``."""

    slots = 1

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        """Queues the job for the next ``poll``."""
        self._waiting.append(job)

    def poll(self) -> list[Ended]:
        """Runs what was submitted."""
        ended = []
        while self._waiting:
            job = self._waiting.pop(0)
            ended.append(Ended(job, execute(job)))
            if orders.given():  # to this process: the driver ends with the cell
                break
        return ended

    def cancel(self) -> None:
        """Nothing runs between two polls."""
        self._waiting.clear()
