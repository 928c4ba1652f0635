"""The way to the service without botocore, for requests of data: signature, JSON and connections on the event loop.

What is asked for rarely goes through boto3, and everything does where the settings ask for what only boto3 can do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from botocore import xform_name

from storycore_dynamodb._answers import answer_of, body_of
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._connections import Place, Pool
from storycore_dynamodb._credentials import KeyRing
from storycore_dynamodb._origin import Origin, Unusual, origin_of
from storycore_dynamodb._signing import Signer
from storycore_dynamodb._transport import Answer, Lost, Refused, Request
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["LeanTransport"]

_SERVICES: Final = {
    **dict.fromkeys(("BatchGetItem", "GetItem", "Query", "Scan", "TransactGetItems"), "dynamodb"),
    **dict.fromkeys(("DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"), "dynamodb"),
    **dict.fromkeys(("GetRecords", "GetShardIterator"), "dynamodbstreams"),
}
"""Operation to the service that does it; others go through boto3."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How requests reach one service."""

    signer: Signer
    pool: Pool


class LeanTransport:
    """Requests of data without botocore, all others through boto3.

    Args:
        config: the place, the credentials and the timeouts.
    """

    def __init__(self, config: DynamodbConfig) -> None:
        self._config = config
        self._boto = BotoTransport(config)
        self._ways: dict[str, _Way] = {}
        self._keys: KeyRing | None = None
        self._opening = asyncio.Lock()
        self._is_open = False
        self.detour: str | None = None

    async def open(self) -> object:
        """Learn from botocore where and as whom to send; ``detour`` says why all goes through boto3, if it does."""
        client = await self._boto.open()
        self._is_open, self.detour = True, None
        try:
            key = {"pk": {"S": "storycore"}, "sk": {"S": "storycore"}}
            await self._way("dynamodb", "GetItem", {"TableName": self._config.table, "Key": key})
        except BaseException:
            await self.close()
            raise
        return client

    async def call(self, operation: str, request: Request) -> Answer:
        """Send one request."""
        service = _SERVICES.get(operation)
        way = None if service is None else self._ways.get(service)
        if way is None and service is not None and self.detour is None:
            way = await self._way(service, operation, request)
        if way is None or self._keys is None:
            return await self._boto.call(operation, request)
        body = body_of(request)
        keys = self._keys.fresh or await self._keys.renewed()
        return answer_of(await way.pool.exchange(way.signer.head(operation, body, keys) + body))

    async def close(self) -> None:
        """Close the connections that rest; those in use close when their answers are in."""
        self._is_open = False
        ways, self._ways = self._ways, {}
        self._keys = None
        await asyncio.gather(*(way.pool.close() for way in ways.values()))
        await self._boto.close()

    async def _way(self, service: str, operation: str, request: Request) -> _Way | None:
        """The way to a service, learned with the first request to it; ``None``: only boto3 has one."""
        async with self._opening:
            if service not in self._ways and self.detour is None:
                try:
                    origin, credentials = await self._boto.run(partial(self._learned, service, operation, request))
                except Unusual as exc:
                    self.detour = str(exc)
                except Lost as exc:  # botocore could not make the request; it says so again to each that follows
                    self.detour = exc.message
                else:
                    if not self._is_open:
                        raise Refused("Closed", "the connection is closed")
                    self._keys = self._keys or KeyRing(credentials, self._boto.run)
                    self._ways[service] = self._built(origin)
            return self._ways.get(service)

    def _learned(self, service: str, operation: str, request: Request) -> tuple[Origin, Any]:
        client = self._boto.new_client(service)
        try:
            origin = origin_of(self._boto.core(), client, xform_name(operation), request)
        finally:
            client.close()
        return origin, self._boto.credentials()

    def _built(self, origin: Origin) -> _Way:
        config = self._config
        place = Place(origin.host, origin.port, origin.tls, config.connect_timeout_seconds, config.read_timeout_seconds)
        signer = Signer(
            host=origin.header,
            region=origin.region,
            service=origin.service,
            target=origin.target,
            agent=f"storycore-dynamodb/{version('storycore-dynamodb')}",
        )
        return _Way(signer, Pool(place, config.connections))
