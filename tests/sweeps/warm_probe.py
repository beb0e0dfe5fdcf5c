"""A cell that looks at the process it was forked from."""

import gc
import json
import os
import sys
from pathlib import Path


def look(job):
    torch = sys.modules.get("torch")
    found = {
        "server_threads": len(list(Path(f"/proc/{os.getppid()}/task").iterdir())),
        "frozen": gc.get_freeze_count(),
        "cuda": bool(torch and torch.cuda.is_initialized()),
        "imported": [
            name
            for name in ("torch", "transformers", "lightning", "datasets", "sweeps.logging.run_log")
            if name in sys.modules
        ]
        == ["torch", "transformers", "lightning", "datasets", "sweeps.logging.run_log"],
    }
    (job.folder / "look.json").write_text(json.dumps(found))
    (job.folder / "done.json").write_text("{}")
    return 0
