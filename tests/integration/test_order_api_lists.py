"""GET /v1/orders: every filter, cursors that hold while orders come, plans that hold at size."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from orderonce_api.listing import HELD
from orderonce_api.store import QUERIES
from orderonce_shared.domain.lifecycle import Status
from orderonce_shared.domain.reasons import EndingCode

from tests.unit.order_api.world import World, fresh_key, instrument, place, problem, world

SEED = """
INSERT INTO api.orders (order_id, client, key, key_id, account, venue, symbol, side, type, quantity,
    price, time_in_force, post_only, client_order_id, schema, payload_hash, traceparent, accept_seq,
    timeline, accepted_at, deadline, status, final, reason_code, reason_detail, updated_at)
SELECT gen_random_uuid(), $1, 'seeded-key-' || lpad(n::text, 12, '0'), 'k', 'paper-' || (n % 7 + 1),
       'paper', CASE WHEN n % 5 = 0 THEN 'ETH/USDT' ELSE 'BTC/USDT' END, 'buy', 'limit', 1, 1,
       'gtc',
       false, 'c' || n, 'place.v1', 'h', 't', nextval('api.accept_seq'), '7:1',
       $2::timestamptz + n * interval '1 second', $2, s.status, s.status <> 'open',
       CASE s.status WHEN 'canceled' THEN 'venue-expired'
                     WHEN 'rejected' THEN 'venue-rejected' END,
       CASE WHEN s.status IN ('filled', 'open') THEN NULL ELSE 'x' END, $2
  FROM generate_series(1, $3) n,
       LATERAL (SELECT CASE WHEN n % 1000 = 0 THEN 'open' WHEN n % 500 = 7 THEN 'rejected'
                            WHEN n % 3 = 0 THEN 'canceled' ELSE 'filled' END AS status) s
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


async def seed(made: World, count: int, client: str = "bot") -> None:
    await made.owner.execute(SEED, client, START, count)


async def page(bot: httpx.AsyncClient, **asked: str) -> tuple[list[dict[str, Any]], str | None]:
    reply = await bot.get("/v1/orders", params=asked)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    return body["orders"], body["next_cursor"]


async def every(bot: httpx.AsyncClient, **asked: str) -> list[dict[str, Any]]:
    found, cursor = await page(bot, **asked)
    while cursor is not None:
        more, cursor = await page(bot, **{**asked, "cursor": cursor})
        found += more
    return found


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def test_every_filter_alone_and_together(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await seed(made, 2_000)
        await seed(made, 50, "somebody-else")
        all_ = await every(bot, limit="200")
        assert len(all_) == 2_000
        assert [o["accepted_at"] for o in all_] == sorted(
            (o["accepted_at"] for o in all_), reverse=True
        )
        cases: list[tuple[dict[str, str], Any]] = [
            ({"account": "paper-3"}, lambda o: o["account"] == "paper-3"),
            ({"symbol": "ETH/USDT"}, lambda o: o["symbol"] == "ETH/USDT"),
            ({"status": "open"}, lambda o: o["status"] == "open"),
            ({"status": "rejected"}, lambda o: o["status"] == "rejected"),
            ({"status": "filled,open"}, lambda o: o["status"] in ("filled", "open")),
            ({"status": "rejected,canceled"}, lambda o: o["status"] in ("rejected", "canceled")),
            ({"since": at(1_500)}, lambda o: o["accepted_at"] >= "2026-01-01T00:25:00"),
            ({"until": at(1_500)}, lambda o: o["accepted_at"] < "2026-01-01T00:25:00"),
        ]
        for asked, fits in cases:
            wanted = [o["order_id"] for o in all_ if fits(o)]
            assert wanted, asked
            found = [o["order_id"] for o in await every(bot, limit="100", **asked)]
            assert found == wanted, asked
        together = {"account": "paper-2", "symbol": "BTC/USDT", "status": "canceled",
                    "since": at(100), "until": at(900)}  # fmt: skip
        wanted = [
            o["order_id"] for o in all_
            if o["account"] == "paper-2" and o["symbol"] == "BTC/USDT"
            and o["status"] == "canceled" and at(100) <= o["accepted_at"] < at(900)
        ]  # fmt: skip
        assert [o["order_id"] for o in await every(bot, **together)] == wanted
        assert wanted


async def test_pages_hold_while_orders_come_and_end(database: Any) -> None:
    """Nothing is shown twice, and nothing that was there at the first page is left out."""
    async with world(database) as made, made.client() as bot:
        for _ in range(12):
            assert (await place(bot)).status_code == 202
        there = {o["order_id"] for o in await every(bot)}
        seen, cursor = await page(bot, limit="5")
        while cursor is not None:
            await place(bot)
            await made.owner.execute("UPDATE api.orders SET updated_at = clock_timestamp()")
            more, cursor = await page(bot, limit="5", cursor=cursor)
            seen += more
        ids = [o["order_id"] for o in seen]
        assert len(ids) == len(set(ids))
        assert set(ids) == there


async def test_equal_times_neither_repeat_nor_hide(database: Any) -> None:
    """A batch shares its time of acceptance."""
    async with world(database) as made, made.client() as bot:
        await seed(made, 30)
        await made.owner.execute("UPDATE api.orders SET accepted_at = $1", START)
        ids = [o["order_id"] for o in await every(bot, limit="7")]
        assert len(ids) == len(set(ids)) == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "Paper 1"), ("symbol", "btcusdt"), ("symbol", ""), ("status", "done"),
        ("status", ""), ("status", "open,"), ("status", "open,done"), ("since", "yesterday"),
        ("since", "1763805605"), ("until", "2026-11-22"), ("limit", "0"), ("limit", "201"),
        ("limit", "ten"), ("limit", "-1"), ("cursor", "x"), ("cursor", "Mjo5OQ"),
        ("cursor", "a" * 65),
    ],
)  # fmt: skip
async def test_a_bad_value_is_named(database: Any, name: str, value: str) -> None:
    async with world(database) as made, made.client() as bot:
        reply = await bot.get("/v1/orders", params={name: value})
        assert (reply.status_code, problem(reply)) == (400, "request-invalid")
        (error,) = reply.json()["errors"]
        assert error["pointer"] == f"/{name}"
        assert error["message"]


async def test_a_span_that_ends_before_it_begins_is_named(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        reply = await bot.get("/v1/orders", params={"since": at(10), "until": at(10)})
        assert reply.status_code == 400
        assert reply.json()["errors"][0]["pointer"] == "/until"
        reply = await bot.get("/v1/orders", params={"client_tag": "x"})
        assert reply.status_code == 400


async def test_a_key_for_one_account_sees_that_one(database: Any) -> None:
    async with world(database) as made:
        await seed(made, 100)
        key = await made.new_key(accounts=["paper-2"])
        async with made.client(key) as bot:
            found = await every(bot)
            assert {o["account"] for o in found} == {"paper-2"}
            assert (await bot.get("/v1/orders?account=paper-1")).status_code == 404


PLANNED = 40_000


@pytest.mark.parametrize(
    ("asked", "index", "most_rows"),
    [
        ({}, "orders_newest_at", 60),
        ({"account": "paper-3"}, "orders_newest_at", 60),
        ({"symbol": "XRP/USDT"}, "orders_newest_at", 0),
        ({"until": START + timedelta(seconds=500)}, "orders_newest_at", 60),
        ({"statuses": ["open"], "held_by": "live"}, "orders_live_at", 60),
        ({"statuses": ["rejected"], "held_by": "failed"}, "orders_failed_at", 60),
        (
            {"statuses": ["canceled"], "held_by": "canceled", "symbol": "XRP/USDT"},
            "orders_canceled_at",
            0,
        ),
        (
            {"statuses": ["filled"], "held_by": "filled", "symbol": "XRP/USDT"},
            "orders_filled_at",
            0,
        ),
    ],
    ids=["none", "account", "nothing fits", "long ago", "live", "failed", "canceled", "filled"],
)
async def test_a_page_reads_its_index(
    database: Any, asked: dict[str, Any], index: str, most_rows: int
) -> None:
    """No sort, no scan of the table: the filters of account and symbol are answered from the index,
    and so cost no look at rows that do not fit.
    """
    async with world(database) as made:
        await seed(made, PLANNED)
        await made.owner.execute("VACUUM ANALYZE api.orders")
        await made.owner.execute(QUERIES["plan_anew"].replace("true", "false"))
        rows = await made.owner.fetch(
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) " + _literal(asked), timeout=30
        )
        plan = "\n".join(row[0] for row in rows)
        assert index in plan, plan
        assert "Sort" not in plan, plan
        assert "Seq Scan on orders" not in plan, plan
        removed = sum(map(int, re.findall(r"Rows Removed by Filter: (\d+)", plan)))
        assert removed <= most_rows, plan


def _literal(asked: dict[str, Any]) -> str:
    """The query as the server plans it for these values."""
    far = "'2200-01-01Z'::timestamptz"
    until = f"'{asked['until'].isoformat()}'::timestamptz" if "until" in asked else far
    values = [
        "'bot'", until, "0", "'2000-01-01Z'::timestamptz",
        _text(asked.get("account")), "NULL", _text(asked.get("symbol")),
        f"'{{{','.join(asked['statuses'])}}}'" if "statuses" in asked else "NULL",
        _text(asked.get("held_by")), "51",
    ]  # fmt: skip
    return re.sub(r"\$(\d+)", lambda found: values[int(found[1]) - 1], QUERIES["list_orders"])


def _text(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


async def test_a_market_order_has_no_time_in_force(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await instrument(made.owner, "ETH/USDT")
        body = {"account": "paper-1", "symbol": "ETH/USDT", "side": "buy", "type": "market",
                "quote_quantity": "60.00"}  # fmt: skip
        reply = await bot.post("/v1/orders", json=body, headers={"Idempotency-Key": fresh_key()})
        assert reply.status_code == 202, reply.text
        shown = (await bot.get(reply.headers["location"])).json()
        assert (shown["quantity"], shown["quote_quantity"]) == (None, "60.00")
        assert shown["time_in_force"] is None
        assert shown["parked"] is False


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"quantity": "0.001"}, "/quote_quantity"),
        ({"side": "sell"}, "/quote_quantity"),
        ({"type": "limit", "price": "50000.00"}, "/quote_quantity"),
        ({"quote_quantity": None}, "/quantity"),
        ({"quote_quantity": "0"}, "/quote_quantity"),
    ],
)
async def test_a_quote_amount_elsewhere_is_named(
    database: Any, changes: dict[str, Any], pointer: str
) -> None:
    async with world(database) as made, made.client() as bot:
        body = {"account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
                "quote_quantity": "60.00", **changes}  # fmt: skip
        reply = await bot.post("/v1/orders", json=body, headers={"Idempotency-Key": fresh_key()})
        assert (reply.status_code, problem(reply)) == (400, "body-invalid")
        assert reply.json()["errors"][0]["pointer"] == pointer


def test_the_indexes_know_every_way_to_end() -> None:
    """Their predicates name reason codes: whoever adds one looks there, and at listing.HELD."""
    assert {code.value for code in EndingCode} == {
        "deadline-passed", "attempts-exhausted", "canceled-by-client", "canceled-at-venue",
        "venue-expired", "venue-rejected", "proven-absent", "no-word-from-venue",
    }  # fmt: skip
    assert frozenset().union(*(held for _, held in HELD)) == frozenset(Status)
