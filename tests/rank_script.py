"""What test_together.py lets torchrun start: `residuum` with its arguments, and a line for each batch that is served.

RESIDUUM_SERVED names a folder: each rank writes there the rows of each training batch and a digest of each picture.
RESIDUUM_KILL, "rank step attempt", lets a rank end by SIGKILL before that step of that attempt.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from residuum.cli import main
from residuum.data.batches import Loader


def watch() -> None:
    rank, folder = int(os.environ.get("RANK", "0")), os.environ.get("RESIDUUM_SERVED")
    victim = [int(one) for one in os.environ.get("RESIDUUM_KILL", "-1 0 0").split()]
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    serve = Loader.batches

    def batches(self, plan, augmentation=None, seed=0):
        for step, batch in enumerate(serve(self, plan, augmentation, seed)):
            if augmentation is not None:
                if [rank, step, attempt] == victim:
                    os.kill(os.getpid(), signal.SIGKILL)
                if folder:
                    pixels = [hashlib.sha256(one.contiguous().numpy().tobytes()).hexdigest() for one in batch.images]
                    with (Path(folder) / f"{rank}.jsonl").open("a") as file:
                        file.write(json.dumps([batch.epoch, batch.rows.tolist(), pixels]) + "\n")
            yield batch

    Loader.batches = batches


if __name__ == "__main__":
    watch()
    sys.argv[0] = "residuum"
    main()
