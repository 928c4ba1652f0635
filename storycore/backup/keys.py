"""Keys that need no service: made from a passphrase, or read from a file."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

import orjson

from storycore.backup.frames import KEY_BYTES
from storycore.backup.new_files import is_full, publish
from storycore.errors import AccessDenied, AlreadyExists, ConfigError, StorageFull

__all__ = ["KeyFile", "Passphrase", "missing_key", "new_key_file", "provided"]

_SALT_BYTES = 16
_NONCE_BYTES = 12
_LOG_N, _BLOCK, _LANES = 17, 8, 1
"""scrypt with 128 MiB (OWASP, "Password Storage Cheat Sheet": N = 2**17, r = 8, p = 1)."""
_MOST_LOG_N = 22
_SHORTEST = 8


@dataclass(frozen=True, repr=False)
class Passphrase:
    """A key made from a passphrase by scrypt (RFC 7914), with a random salt.

    What was derived is remembered, and what is wrapped next has the salt that opened something last: backups share one,
    and all of them are read after one derivation. One that opened nothing is used no further: anybody may have put it
    there.

    Args:
        phrase: at least 8 characters; however a keyboard composes them (Unicode's form NFC is what counts).
        log_n: the cost as a power of two, 10 to 22; what was wrapped says with which cost, so it can be raised later.
            What asks for more than this and the default is not opened: anybody may have put it there.

    Raises:
        ConfigError: the phrase is too short, or the cost is out of range.
    """

    phrase: str
    log_n: int = _LOG_N
    _derived: dict[tuple[bytes, int], bytes] = field(default_factory=dict, init=False, compare=False)
    _proven: list[bytes] = field(default_factory=list, init=False, compare=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.phrase) < _SHORTEST:
            raise ConfigError(f"A backup's passphrase has at least {_SHORTEST} characters.", path="backup.passphrase")
        if any("\ud800" <= character <= "\udfff" for character in self.phrase):
            raise ConfigError("A backup's passphrase is not UTF-8 where it was taken from.", path="backup.passphrase")
        if not 10 <= self.log_n <= _MOST_LOG_N:
            raise ConfigError(f"scrypt's cost is 10 to {_MOST_LOG_N}, not {self.log_n}.", path="backup.passphrase")

    @property
    def identity(self) -> str:
        """That it is a passphrase; nothing of it."""
        return "passphrase"

    async def wrap(self, key: bytes, *, context: Mapping[str, str]) -> bytes:
        """Seal a key; the first time it takes a quarter of a second and 128 MiB, in a thread."""
        salt = self._proven[-1] if self._proven else secrets.token_bytes(_SALT_BYTES)
        self._proven[:] = [salt]
        own = await self._key(salt, self.log_n)
        return bytes([self.log_n]) + salt + _sealed(own, key, context)

    async def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        """Open a sealed key."""
        head, salt, sealed = wrapped[:1], wrapped[1 : 1 + _SALT_BYTES], wrapped[1 + _SALT_BYTES :]
        log_n = int.from_bytes(head)
        if not 10 <= log_n <= max(self.log_n, _LOG_N):
            raise AccessDenied(
                f"The backup's sealed key asks for scrypt with a cost of {log_n}, and this passphrase is used up to "
                f"{max(self.log_n, _LOG_N)}: it is damaged, or was sealed with a higher cost on purpose."
            )
        own = await self._key(salt, log_n)
        key = _opened(own, sealed, context, "The passphrase is not the one the backup was made with")
        if log_n == self.log_n:
            self._proven[:] = [salt]
        return key

    async def _key(self, salt: bytes, log_n: int) -> bytes:
        if (salt, log_n) not in self._derived:
            await asyncio.to_thread(self._derive, salt, log_n)
        return self._derived[salt, log_n]

    def _derive(self, salt: bytes, log_n: int) -> None:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        with self._turn:  # each derivation takes 128 MiB
            if (salt, log_n) not in self._derived:
                scrypt = Scrypt(salt, KEY_BYTES, 1 << log_n, _BLOCK, _LANES)
                self._derived[salt, log_n] = scrypt.derive(normalize("NFC", self.phrase).encode())


@dataclass(frozen=True, repr=False)
class KeyFile:
    """A key in a file: 64 hexadecimal digits, as ``new_key_file`` writes them.

    Args:
        path: read at each use.
    """

    path: Path

    @property
    def identity(self) -> str:
        """The file's path."""
        return f"key file {self.path}"

    async def wrap(self, key: bytes, *, context: Mapping[str, str]) -> bytes:
        """Seal a key."""
        own = await asyncio.to_thread(self._read)
        return _fingerprint(own) + _sealed(own, key, context)

    async def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        """Open a sealed key."""
        own = await asyncio.to_thread(self._read)
        mark, sealed = wrapped[:_MARK_BYTES], wrapped[_MARK_BYTES:]
        if mark != _fingerprint(own):
            raise AccessDenied(
                f"The backup was sealed with key {mark.hex()}, and {self.path} holds key {_fingerprint(own).hex()}; "
                "point backup.key_file at the file with the right one."
            )
        return _opened(own, sealed, context, f"The backup's key does not open with {self.path}")

    def _read(self) -> bytes:
        try:
            text = self.path.read_text(encoding="ascii").strip()
        except FileNotFoundError as exc:
            raise ConfigError(
                f"The key file {self.path} does not exist; bring it back, or where there is no backup yet, "
                "`storycore backup key` makes one.",
                path="backup.key_file",
            ) from exc
        except OSError as exc:
            raise ConfigError(
                f"The key file {self.path} cannot be read ({exc.strerror}); let this user read it.",
                path="backup.key_file",
            ) from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(
                f"The key file {self.path} holds no text, and so no key.", path="backup.key_file"
            ) from exc
        with suppress(ValueError):
            if len(key := bytes.fromhex(text)) == KEY_BYTES:
                return key
        raise ConfigError(
            f"The key file {self.path} does not hold {2 * KEY_BYTES} hexadecimal digits.", path="backup.key_file"
        )


def new_key_file(path: Path) -> KeyFile:
    """Make a key file that only its owner can read; it is there whole or not at all, and none is ever overwritten.

    Raises:
        AlreadyExists: there is a file.
        StorageFull: there is no room for it.
        ConfigError: it cannot be made.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(draft, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
            publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError as exc:
        raise AlreadyExists(f"{path} exists already, and a key is never overwritten.") from exc
    except OSError as exc:
        if is_full(exc):
            raise StorageFull(f"There is no room for the key file {path}; free some space.") from exc
        raise ConfigError(f"The key file {path} cannot be made ({exc.strerror}).", path="backup.key_file") from exc
    return KeyFile(path)


def _write(path: Path, data: bytes) -> None:
    """Bring a new file to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


async def provided(file: KeyFile, backups: int) -> str:
    """Make a key file that is missing; what to do with it. ``""``: somebody else has made it meanwhile.

    Args:
        backups: how many need it.

    Raises:
        ConfigError: some do.
    """
    if backups:
        raise ConfigError(
            f"The key file {file.path} is missing, and {backups} backups were made with a key; bring it back, or "
            "make another one, which does not open them, with `storycore backup key --new`.",
            path="backup.key_file",
        )
    try:
        await asyncio.to_thread(new_key_file, file.path)
    except AlreadyExists:
        return ""
    return f"Made the key {file.path}. Keep a copy in another place: without it nobody can read the backups."


async def missing_key(file: KeyFile | None) -> str:
    """That a key would be made; ``""``: it is there, or lies in no file."""
    if file is None or await asyncio.to_thread(file.path.exists):
        return ""
    return f"make the key {file.path}"


_MARK_BYTES = 8


def _fingerprint(key: bytes) -> bytes:
    return sha256(b"storycore key\n" + key).digest()[:_MARK_BYTES]


def _sealed(own: bytes, key: bytes, context: Mapping[str, str]) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(own).encrypt(nonce, key, _bound(context))


def _opened(own: bytes, sealed: bytes, context: Mapping[str, str], problem: str) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(own).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(context))
    except (InvalidTag, ValueError) as exc:
        raise AccessDenied(f"{problem}, or the sealed key was changed.") from exc


def _bound(context: Mapping[str, str]) -> bytes:
    return orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)
