"""The venue's client id: the same for ever, since a restored database finds its orders by it."""

import string

import pytest
from orderonce_shared.domain.identity import client_order_id

# Computed by hand, without the code under test:
# printf 'orderonce.client-order-id.v1\0\0\0\005bot-1\0\0\0\020key-000000000001' |
#   sha256sum | cut -c-32 | xxd -r -p | base32 | tr -d = | tr A-Z a-z
VECTORS = {
    ("bot-1", "key-000000000001"): "ooy2ufsqh4fmha6tmgbu6odmajyy",
    ("bot-1", "key-000000000002"): "oobzs7pddycfdcnngd77jc5wot24",
    ("a", "0123456789abcdef"): "ooyltjr2htur62y3cp24plxonprq",
}


@pytest.mark.parametrize(("pair", "expected"), VECTORS.items())
def test_known_vectors(pair: tuple[str, str], expected: str) -> None:
    assert client_order_id(*pair) == expected


def test_fits_the_narrowest_venue() -> None:
    """Letters and digits only, at most 28, lower case: some venues fold case, some refuse a
    dash."""
    made = client_order_id("bot-1", "key-000000000001")

    assert len(made) == 28
    assert made.startswith("oo")
    assert set(made) <= set(string.ascii_lowercase + string.digits)


def test_the_border_between_client_and_key_counts() -> None:
    assert client_order_id("ab", "c") != client_order_id("a", "bc")
    assert client_order_id("", "abc") != client_order_id("abc", "")
