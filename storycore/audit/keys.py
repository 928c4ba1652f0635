"""The key of a trail: whoever writes to the store and does not have it can seal nothing."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import orjson

from storycore.errors import AlreadyExists, ConfigError

__all__ = ["AuditKey", "FileKey", "KeySource", "SettledKey", "sealed", "unsealed"]

_BYTES = 32
_SHORT = 16


class AuditKey:
    """Seals and hashes with keys that are made of one secret, each for one purpose.

    Args:
        secret: 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._records, self._states, self._users, self._names = (
            hmac.digest(secret, b"storycore audit " + purpose, sha256)
            for purpose in (b"records", b"states", b"users", b"names")
        )

    def of_record(self, content: bytes) -> str:
        """The hash of a record."""
        return hmac.digest(self._records, content, sha256).hex()

    def of_state(self, content: bytes) -> str:
        """The seal of what tells how a trail stands."""
        return hmac.digest(self._states, content, sha256).hex()

    def of_user(self, user: str) -> str:
        """Where a user's own key lies."""
        return hmac.digest(self._users, user.encode("utf-8", "surrogatepass"), sha256)[:_SHORT].hex()

    def own(self, user: str, salt: bytes) -> bytes:
        """A user's own key; without the salt nobody can make it again."""
        named = hmac.digest(self._users, b"own\n" + user.encode("utf-8", "surrogatepass"), sha256)
        return hmac.digest(salt, named, sha256)

    def of_name(self, port: str, name: Sequence[str], own: bytes | None = None) -> str:
        """What stands for a thing's key in the trail; with the key of the user whom it is about, if it is."""
        content = "\0".join([port, *(f"{len(part)}:{part}" for part in name)]).encode("utf-8", "surrogatepass")
        return hmac.digest(own or self._names, content, sha256)[:_SHORT].hex()


class SettledKey:
    """A key that the profile has.

    Args:
        text: 64 hexadecimal digits.

    Raises:
        ConfigError: it is none.
    """

    def __init__(self, text: str) -> None:
        self._key = _key(
            text, "audit.key is no key: 64 hexadecimal digits are expected, as `openssl rand -hex 32` gives."
        )

    async def key(self, *, is_new: bool) -> AuditKey:
        """The key."""
        return self._key

    async def made(self) -> str:
        """Nothing is to be made."""
        return ""


class FileKey:
    """A key in a file of 64 hexadecimal digits, which is made with a trail.

    Args:
        path: of the file; read once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: AuditKey | None = None

    async def key(self, *, is_new: bool) -> AuditKey:
        """The key.

        Args:
            is_new: make the file where there is none.

        Raises:
            ConfigError: it is missing and not to be made, or holds no key.
        """
        if self._key is None:
            if is_new and not await asyncio.to_thread(self._path.exists):
                await self.made()
            self._key = _key(await asyncio.to_thread(self._text), f"The key file {self._path} holds no key.")
        return self._key

    async def made(self) -> str:
        """Make the file that is missing; what to do with it, or ``""``: it is there.

        Raises:
            ConfigError, StorageFull: it cannot be made.
        """
        from storycore.backup.keys import new_key_file

        try:
            with suppress(AlreadyExists):
                if not await asyncio.to_thread(self._path.exists):
                    await asyncio.to_thread(new_key_file, self._path)
                    return f"Made the key {self._path}. Keep a copy elsewhere: without it nobody can verify the trail."
        except ConfigError as exc:
            raise ConfigError(exc.message, path="audit.key_file") from exc
        return ""

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError as exc:
            raise ConfigError(
                f"The key of the audit trail {self._path} does not exist, and there is a trail that was made with it; "
                "bring it back.",
                path="audit.key_file",
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(
                f"The key of the audit trail {self._path} cannot be read ({type(exc).__name__}).", path="audit.key_file"
            ) from exc


KeySource: TypeAlias = SettledKey | FileKey
"""Where a trail's key comes from."""


def sealed(key: AuditKey, state: dict[str, object]) -> bytes:
    """A state with its seal, as it is stored."""
    content = orjson.dumps(state, option=orjson.OPT_SORT_KEYS)
    return orjson.dumps({**state, "seal": key.of_state(content)}, option=orjson.OPT_SORT_KEYS)


def unsealed(key: AuditKey, data: bytes) -> dict[str, object] | None:
    """A state that bears its seal, to the letter; ``None``: it does not."""
    try:
        state = orjson.loads(data)
        seal = state.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    whole = hmac.compare_digest(sealed(key, state), data)
    return state if whole and isinstance(seal, str) else None


def _key(text: str, problem: str) -> AuditKey:
    with suppress(ValueError):
        if len(secret := bytes.fromhex(text)) == _BYTES:
            return AuditKey(secret)
    raise ConfigError(problem, path="audit.key")
