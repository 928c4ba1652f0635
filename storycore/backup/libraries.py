"""The libraries that backups need beyond the core's."""

from __future__ import annotations

from importlib.util import find_spec

from storycore.errors import ConfigError

__all__ = ["require_libraries"]

_NEEDED = {"cryptography": "cryptography", "backports.zstd": "backports.zstd"}


def require_libraries() -> None:
    """Raise ``ConfigError`` naming the cure unless all are installed; imports none of them."""
    missing = [name for module, name in _NEEDED.items() if not _is_there(module)]
    if missing:
        raise ConfigError(
            f"Backups need {' and '.join(missing)}; install them with: pip install 'storycore[backup]'", path="backup"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False
