"""The venue's client order id is a pure function of (client, idempotency key).

Why: even a command that is accepted again after its database row was lost must meet the same id at
the venue, so that a look-up finds the first order instead of placing a second one (rule 2b of the
protocol).
"""

import base64
import hashlib

CLIENT_ORDER_ID_PREFIX = "oo"
CLIENT_ORDER_ID_LENGTH = 28  # fits binance (36), okx (32 alphanumeric), gate (28): docs/venues.md


def client_order_id(client: str, key: str) -> str:
    """`oo` and 26 characters of lower-case base32: the first 128 bits of SHA-256 over the
    length-prefixed pair.

    The length prefix makes ("ab", "c") and ("a", "bc") different preimages.
    """
    client_bytes, key_bytes = client.encode(), key.encode()
    preimage = b"orderonce.client-order-id.v1" + b"".join(
        len(part).to_bytes(4, "big") + part for part in (client_bytes, key_bytes)
    )
    digest = hashlib.sha256(preimage).digest()[:16]
    encoded = base64.b32encode(digest).decode("ascii").rstrip("=").lower()
    assert len(CLIENT_ORDER_ID_PREFIX + encoded) == CLIENT_ORDER_ID_LENGTH
    return CLIENT_ORDER_ID_PREFIX + encoded
