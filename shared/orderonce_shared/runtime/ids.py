"""The only source of ids and randomness."""

import secrets
from uuid import UUID

from uuid_utils import uuid7 as native_uuid7
from uuid_utils.compat import uuid7


def new_order_id() -> UUID:
    """UUIDv7 (RFC 9562): sorts by creation time, so that new rows land together in an index."""
    return uuid7()


def new_request_id() -> str:
    return native_uuid7().hex


def random_bytes(count: int) -> bytes:
    return secrets.token_bytes(count)


def random_below(limit: int) -> int:
    return secrets.randbelow(limit)
