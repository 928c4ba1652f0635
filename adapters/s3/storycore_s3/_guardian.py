"""What the child process of ``testing.server`` runs: another program, for as long as the parent lives.

The file is run by its path, so that the child imports neither storycore nor this package.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

__all__ = ["main"]

_GRACE_SECONDS = 5


def main(folder: str, command: list[str]) -> None:
    """Run the command until a signal comes or the parent's end of standard input closes, however the parent ends.

    Args:
        folder: the server's own temporary directory, removed when the parent is gone and cannot do it.
        command: the program and its arguments.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the parent decides
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - the parent's
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=_outlive_nobody, args=(process, folder), daemon=True).start()
    sys.exit(_ended(process))


def _outlive_nobody(process: subprocess.Popen[bytes], folder: str) -> None:
    """Wait for the end of standard input, then end everything at once."""
    os.read(sys.stdin.fileno(), 1)
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the program; one that was asked to end and does not, is killed."""
    while True:
        try:
            return process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
