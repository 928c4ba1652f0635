"""The steps that must be one: scripts for the server, each for the value and the lease of one key.

Leases are sixteen digits of microseconds, when they end on storycore's clock, and the token. A script that stores a
value looks at it once more, so that the server tells its next change to a client that listens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ACQUIRE", "BUMP", "FILL", "INVALIDATE", "PUT", "RELEASE", "TOUCH", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which the server keeps it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


_LIVES: Final = """
local function lives(head)
  return head and string.match(head, '^1%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d') and
    tonumber(string.sub(head, 2, 17)) > tonumber(ARGV[1])
end
"""

_HELD: Final = """
local held = redis.call('GET', KEYS[2])
local is_held = held and tonumber(string.sub(held, 1, 16)) > tonumber(ARGV[1])
"""

ACQUIRE: Final = Script(
    _LIVES
    + """
local value = redis.call('GET', KEYS[1])
if not lives(value) then value = false end
if value and ARGV[4] == '0' then return {value, 0} end
"""
    + _HELD
    + """
if is_held then return {value, 0} end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return {value, 1}
"""
)
"""Arguments: now, the lease, its milliseconds, whether to refresh. Gives the live value and whether it was granted."""

FILL: Final = Script(
    _HELD
    + """
if not is_held or string.sub(held, 17) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('DEL', KEYS[2])
redis.call('EXISTS', KEYS[1])
return 1
"""
)
"""Arguments: now, token, sealed value, its milliseconds. Gives 1 when the lease lived."""

RELEASE: Final = Script(
    """
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, 17) == ARGV[1] then return redis.call('DEL', KEYS[2]) end
return 0
"""
)
"""Argument: token."""

PUT: Final = Script(
    """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return redis.call('EXISTS', KEYS[1])
"""
)
"""Arguments: sealed value, its milliseconds."""

INVALIDATE: Final = Script(
    """
local head = redis.call('GETRANGE', KEYS[1], 0, 16)
redis.call('UNLINK', KEYS[1], KEYS[2])
return head
"""
)
"""Gives the beginning of the value that was there."""

TOUCH: Final = Script(
    _LIVES
    + """
if not lives(redis.call('GETRANGE', KEYS[1], 0, 16)) then return 0 end
redis.call('SETRANGE', KEYS[1], 0, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('EXISTS', KEYS[1])
"""
)
"""Arguments: now, the new beginning, its milliseconds. Gives 1 when the value lived."""

BUMP: Final = Script(
    """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
redis.call('INCR', KEYS[1])
return redis.call('GET', KEYS[1])
"""
)
"""Argument: where a counter that is not there starts. Gives the new number as text, which loses no digit."""
