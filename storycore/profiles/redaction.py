"""What may be shown of a setting: values under secret-looking names, and passwords in URLs, never are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from pydantic import SecretBytes, SecretStr
from pydantic_core import ErrorDetails

__all__ = ["HIDDEN", "REFERENCE", "expectation", "is_secret_name", "redacted", "redacted_url"]

HIDDEN = "***"
REFERENCE = "secret://"
"""Begins a reference to a secret, which itself is no secret and may be shown."""

_SECRET_WORDS = ("key", "secret", "token", "password", "passwd", "passphrase", "credential")
_PLACES = ("_file", "_provider")
"""Ends of names that tell where a secret is, which may be shown."""
_USERINFO = re.compile(r"^(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^/?#]*)@")
_PARAMETER = re.compile(r"(?P<name>[^?&=#]+)=(?P<value>[^&#]*)")


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name is never to be shown."""
    return not name.lower().endswith(_PLACES) and any(word in name.lower() for word in _SECRET_WORDS)


def expectation(error: ErrorDetails, path: str) -> str:
    """What was expected of the setting at a path, and what it is instead where that may be shown."""
    given = error["input"]
    may_be_shown = isinstance(given, (str, int, float, bool)) and not is_secret_name(path)
    return error["msg"].removeprefix("Value error, ") + (f", not {given!r}" if may_be_shown else "")


def redacted(value: object, *, name: str = "") -> object:
    """The value as it may be shown; containers are gone through, references to secrets stay."""
    if isinstance(value, str) and value.startswith(REFERENCE):
        return value
    if isinstance(value, bool):  # whether there are keys is no key
        return value
    if is_secret_name(name) or isinstance(value, (SecretStr, SecretBytes)):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: redacted(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return redacted_url(value) if isinstance(value, str) else value


def redacted_url(url: str) -> str:
    """The URL without its password and without the values of secret-looking parameters."""
    shown = _USERINFO.sub(_hide_password, url)
    head, mark, query = shown.partition("?")
    return head + mark + _PARAMETER.sub(_hide_parameter, query)


def _hide_password(match: re.Match[str]) -> str:
    user, colon, password = match["user"].partition(":")
    return f"{match['scheme']}{user}{colon}{HIDDEN if password else ''}@"


def _hide_parameter(match: re.Match[str]) -> str:
    shown = not is_secret_name(unquote(match["name"])) or match["value"].startswith(REFERENCE)
    return match[0] if shown else f"{match['name']}={HIDDEN}"
