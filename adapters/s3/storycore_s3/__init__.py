"""The blobs of storycore in S3, and in whatever speaks its language."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.key_providers import KeyProvider
from storycore.ports.lifecycle import PortName
from storycore_s3.config import S3Config

__all__ = ["storycore_adapters", "storycore_key_providers"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The blob store on S3."""
    return [
        Adapter(
            name="s3",
            ports={PortName.BLOBS: "storycore_s3.blobs:open_blobs"},
            config=S3Config,
            url_path="bucket",
            distribution="storycore-s3",
            summary="Blobs in an S3 bucket: checked, conditional, encrypted; versions and locks where they are on.",
            conformance={"bucket": "storycore-kit", "prefix": "{name}/"},
            server="storycore_s3.testing:server",
            infrastructure="storycore_s3.infrastructure:infrastructure",
        )
    ]


@hookimpl
def storycore_key_providers() -> Mapping[str, Callable[[Mapping[str, object]], KeyProvider]]:
    """Keys of backups that AWS KMS seals."""
    return {"kms": _kms_key}


def _kms_key(options: Mapping[str, object]) -> KeyProvider:
    from storycore_s3.kms import kms_key

    return kms_key(options)
