"""python -m residuum.studies.child PARENT WORDS: `residuum WORDS`, stopped as by SIGTERM when process PARENT is gone.

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
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before it could be asked for
            sys.exit(128 + signal.SIGTERM)
    runpy.run_module("residuum", run_name="__main__")
