"""python -m residuum.studies.child WORDS: `residuum WORDS`, stopped as by SIGTERM when whoever began it is gone.

Nobody writes to its stdin: that ends when the process that holds the other end does, however that ends. So the run is
saved, and gone on with the next time.
"""

import os
import runpy
import signal
import threading


def end_with_stdin() -> None:
    """Wait for the end of stdin, then ask this process to stop."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    runpy.run_module("residuum", run_name="__main__")
