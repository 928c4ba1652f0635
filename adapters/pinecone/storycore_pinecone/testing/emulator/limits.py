"""What the service allows, each number with its source.

``[spec]``: "Pinecone Data Plane API" and "Pinecone Control Plane API", the definitions of the version 2026-07 that the
vendor publishes as pinecone-io/pinecone-api; ``[op]``: the page "Operation limits".
"""

from __future__ import annotations

from typing import Final

API_VERSION: Final = "2026-07"
MAX_DIMENSION: Final = 20_000
"""Of a dense vector. [spec]"""
MAX_TOP_K: Final = 10_000
"""[spec]"""
MAX_RESULT_BYTES: Final = 4_000_000
"""Of an answer to a query. [op] says 4MB."""
MAX_UPSERT_RECORDS: Final = 1_000
"""[spec]"""
MAX_REQUEST_BYTES: Final = 2_000_000
"""Of an upsert. [op] says 2 MB."""
MAX_METADATA_BYTES: Final = 40_960
"""Of one record. [op] says 40 KB, an error of the service 40960 bytes."""
MAX_ID_CHARS: Final = 512
"""ASCII without NUL. [spec]"""
MAX_NAMESPACE_CHARS: Final = 512
"""ASCII without NUL. [spec]"""
MAX_IDS: Final = 1_000
"""Of one fetch or delete. [spec]"""
MAX_LIST: Final = 100
"""Ids or namespaces on a page. [spec]"""
MAX_FETCH_PAGE: Final = 10_000
"""Records on a page of a fetch by metadata. [spec]"""
DEFAULT_PAGE: Final = 100
"""[spec]"""
MAX_UPDATED: Final = 100_000
"""Records that one update by metadata changes; the page "Update records" says so."""
MAX_FILTER_VALUES: Final = 10_000
"""Of one ``$in`` or ``$nin``. [op]"""
MAX_INDEX_NAME_CHARS: Final = 45
"""Lower-case letters, digits and dashes. [spec]"""
MAX_FIELD_NAME_BYTES: Final = 64
"""Of a field in the schema of an index. [spec]"""
MAX_NAMESPACE_FIELDS: Final = 50
"""That the schema of a namespace declares. [spec]"""
MAX_TAGS: Final = 20
"""Of an index. [spec]"""
MAX_TAG_CHARS: Final = (80, 120)
"""Of the key and the value of a tag. [spec]"""
SMALLEST_VALUE: Final = 1e-8
"""A vector whose values are all nearer to zero "is rejected as containing only zeros". [spec]"""
