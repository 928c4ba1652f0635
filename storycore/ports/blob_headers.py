"""What travels with a blob in headers: which metadata and content types every blob store takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["is_content_type", "is_header_value", "is_metadata_key", "portable_metadata"]

_KEY: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?", re.ASCII)
_LONGEST_TYPE: Final = 255


def is_metadata_key(key: str) -> bool:
    """Whether it is of ASCII letters, digits and ``-``."""
    return _KEY.fullmatch(key) is not None


def is_header_value(value: str) -> bool:
    """Whether it is of printable ASCII without outer spaces; it may be empty."""
    return _VALUE.fullmatch(value) is not None


def is_content_type(value: str) -> bool:
    """Whether it is of 1 to 255 such characters."""
    return 1 <= len(value) <= _LONGEST_TYPE and is_header_value(value)


def portable_metadata(found: Mapping[str, str]) -> dict[str, str]:
    """What the port takes of the metadata that another program gave an object, with keys in lower case.

    The rest is left out, so that whatever a store tells can be put again, into any other.
    """
    return {key.lower(): value for key, value in found.items() if is_metadata_key(key) and is_header_value(value)}
