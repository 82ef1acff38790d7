"""python -m residuum.study.child WORDS: the command `residuum WORDS`, stopped as by SIGTERM when its parent is gone.

A parent that is killed outright can stop nobody; Linux sends its children the signal then. Elsewhere the run goes on to
its end, and is found there the next time.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    runpy.run_module("residuum", run_name="__main__")
