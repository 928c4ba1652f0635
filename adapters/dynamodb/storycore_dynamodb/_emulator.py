"""What the child process of ``testing.server`` runs: ministack, for as long as the parent lives.

The file is run by its path, so that the child imports neither storycore nor this package.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading

__all__ = ["main"]


def main(folder: str) -> None:
    """Serve until a signal comes or the parent's end of standard input closes, which it does however the parent ends.

    Args:
        folder: the server's own temporary directory, removed when the parent is gone and cannot do it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the parent decides
    threading.Thread(target=_outlive_nobody, args=(folder,), daemon=True).start()
    del sys.argv[1:]
    from ministack.app import main as serve

    serve()


def _outlive_nobody(folder: str) -> None:
    """Wait for the end of standard input, then end at once."""
    os.read(sys.stdin.fileno(), 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
