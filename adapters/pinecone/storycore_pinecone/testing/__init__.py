"""A Pinecone on this machine, for tests and for development: an emulator of its REST API, as a child process.

It is not Pinecone's code. It is written from the definition of the API that the vendor publishes, from the
documentation of the service, and from what the SDK, version 10.2, sends and understands; where these are silent it
chooses what is harder for a client. It needs numpy:
``pip install 'storycore-pinecone[testing]'``. It listens on the loopback interface alone, keeps everything in memory,
and ends with the process that started it.
"""

from __future__ import annotations

from .admin import Admin
from .local import server

__all__ = ["Admin", "server"]
