"""The page about foreign clients cannot say anything else than what the tests run."""

from tests.clients import page


def test_each_way_to_connect_is_on_the_page() -> None:
    assert page.shown(page.PAGE.read_text()) >= page.MUST_BE_SHOWN


def test_what_is_shown_is_what_is_run() -> None:
    text = page.PAGE.read_text()

    assert page.render(text) == text, "run `python -m tests.clients page`"


def test_a_stale_block_is_seen() -> None:
    stale = "<!-- tests/clients/ccxt/connect.py -->\n```python\nimport ccxt\n```\n"

    assert page.render(stale) != stale
