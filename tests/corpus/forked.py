"""python forked.py FOLDER WORDS: as `python WORDS` would, in a process forked by that of warm.py that lives in FOLDER.

Streams, environment, working folder, signals and exit code are those of this process, which is there in its stead.
"""

import json
import os
import signal
import socket
import sys


def main(folder: str, words: list[str]) -> None:
    asked = {"words": words, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109 - pathlib is slow
    os.chdir(folder)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as door:
        door.connect("door")
        text = json.dumps(asked).encode() + b"\n"
        door.sendall(text[socket.send_fds(door, [text], [0, 1, 2]) :])
        pid = int(door.recv(20))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = int(door.recv(20) or -signal.SIGKILL)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
