"""A Bedrock on this machine, for tests and for development: an emulator of InvokeModel and Rerank, as a child process.

It is not Amazon's code, and its vectors are hashes that know no meaning. It is written from the models of the services
in botocore and from the documentation of the models: bodies, limits and refusals of Titan Text Embeddings V2, Cohere
Embed v3 and the rerankers. It listens on the loopback interface alone, keeps nothing, and ends with the process that
started it.
"""

from __future__ import annotations

from .knobs import Knobs
from .local import server

__all__ = ["Knobs", "server"]
