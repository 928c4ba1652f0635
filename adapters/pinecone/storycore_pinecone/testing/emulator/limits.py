"""What the service allows, each number with the page of its documentation.

``[op]``: "Operation limits"; ``[id]``: "Identifier limits"; ``[list]``: "List record IDs"; ``[sdk]``: the check of the
SDK, version 10.2, that tells the same.
"""

from __future__ import annotations

from typing import Final

API_VERSION: Final = "2026-07"
MAX_DIMENSION: Final = 20_000
"""Of a dense vector. [op]"""
MAX_TOP_K: Final = 10_000
"""[op]"""
MAX_RESULT_BYTES: Final = 4_000_000
"""Of an answer to a query. [op] says 4MB."""
MAX_UPSERT_RECORDS: Final = 1_000
"""[op]"""
MAX_REQUEST_BYTES: Final = 2_000_000
"""Of an upsert. [op] says 2 MB."""
MAX_METADATA_BYTES: Final = 40_960
"""Of one record. [op] says 40 KB, an error of the service 40960 bytes."""
MAX_ID_CHARS: Final = 512
"""ASCII without NUL. [id], [sdk]"""
MAX_NAMESPACE_CHARS: Final = 512
"""ASCII without NUL. [id], [sdk]"""
MAX_IDS: Final = 1_000
"""Of one fetch or delete. [op]"""
MAX_LIST: Final = 100
"""Ids on a page. [list], [sdk]"""
MAX_FETCH_PAGE: Final = 10_000
"""Records on a page of a fetch by metadata. [sdk]"""
DEFAULT_PAGE: Final = 100
MAX_FILTER_VALUES: Final = 10_000
"""Of one ``$in`` or ``$nin``. [op]"""
MAX_INDEX_NAME_CHARS: Final = 45
"""Lower-case letters, digits and dashes. [id], [sdk]"""
MAX_FIELD_NAME_BYTES: Final = 64
"""Of a field in a schema. [sdk]"""
