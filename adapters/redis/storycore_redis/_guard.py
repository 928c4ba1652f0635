"""What the child process of ``testing.server`` runs: the server as a child of its own, for as long as the parent lives.

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


def main(folder: str, *command: str) -> int:
    """Run the server until the end of standard input, which comes however the parent ends.

    Args:
        folder: holds its configuration; removed at the end, for a parent that cannot do it any more.
        command: the server and its arguments.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the parent decides
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    is_over = threading.Event()
    threading.Thread(target=_end_with_the_parent, args=(server, is_over), daemon=True).start()
    code = server.wait()
    if is_over.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _end_with_the_parent(server: subprocess.Popen[bytes], is_over: threading.Event) -> None:
    """Wait for the end of standard input, then kill the server, which has nothing to lose."""
    os.read(sys.stdin.fileno(), 1)
    is_over.set()
    server.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
