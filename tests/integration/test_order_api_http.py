"""The edge of HTTP: whatever comes in gets a clear answer, and never a 5xx."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from orderonce_api import errors
from uuid_utils import compat as uuid_utils

from tests.unit.order_api.world import fresh_key, limit_order, place, problem, world

BODY = json.dumps(limit_order()).encode()


async def post(
    bot: httpx.AsyncClient, raw: bytes, key: str | None = None, **headers: str
) -> httpx.Response:
    return await bot.post(
        "/v1/orders",
        content=raw,
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": key or fresh_key(),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


def with_member(name: str, text: str) -> bytes:
    """The good body with one member as raw JSON text."""
    members = {key: json.dumps(value) for key, value in limit_order().items()}
    members[name] = text
    return ("{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}").encode()


BAD_AMOUNTS = [
    "0.001",
    "1",
    "1e3",
    "-1",
    "true",
    "null",
    "[]",
    "{}",
    '""',
    '" 1"',
    '"1 "',
    '"1\\n"',
    '"+1"',
    '"-1"',
    '"1e3"',
    '"1E3"',
    '"NaN"',
    '"Infinity"',
    '"-Infinity"',
    '".1"',
    '"1."',
    '"1,5"',
    '"1_000"',
    '"0x10"',
    '"٣"',
    '"１"',
    '"0"',
    '"0.000"',
    '"1.0000000000000000001"',
    '"123456789012345678901"',
    '"\\u0000"',
    '"1\\u0000"',
    '"½"',
]


@pytest.fixture
def refused() -> Any:
    async def check(database: Any, raws: list[bytes], kind: str = "body-invalid") -> None:
        async with world(database) as made, made.client() as bot:
            key = fresh_key()
            for raw in raws:
                reply = await post(bot, raw, key)
                assert 400 <= reply.status_code < 500, (raw[:80], reply.text)
                assert problem(reply) == kind, (raw[:80], reply.text)
                if kind == "body-invalid":
                    assert reply.json()["errors"][0]["message"]
            assert await made.owner.fetchval("SELECT count(*) FROM api.idempotency_key") == 0
            assert (await post(bot, BODY, key)).status_code == 202

    return check


async def test_bad_amounts(database: Any, refused: Any) -> None:
    await refused(database, [with_member("quantity", text) for text in BAD_AMOUNTS])


async def test_bad_prices(database: Any, refused: Any) -> None:
    await refused(database, [with_member("price", text) for text in BAD_AMOUNTS])


async def test_a_number_is_told_to_be_a_string(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        reply = await post(bot, with_member("quantity", "0.001"))
        (error,) = reply.json()["errors"]
        assert error["pointer"] == "/quantity"
        assert "string" in error["message"]
        assert "JSON number" in error["message"]


async def test_bad_json(database: Any, refused: Any) -> None:
    await refused(
        database,
        [
            b"",
            b" ",
            b"null",
            b"[]",
            b'"x"',
            b"1",
            b"{",
            BODY + b"x",
            BODY + BODY,
            b"\xef\xbb\xbf" + BODY,
            BODY.decode().encode("utf-16"),
            BODY.decode().encode("utf-32"),
            b"\xff\xfe",
            b"[" * 8000,
            b'{"a":' * 2700 + b"1" + b"}" * 2700,
            b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
            with_member("account", "NaN"),
            with_member("account", "Infinity"),
            with_member("account", "1e999"),
            with_member("account", "9" * 6000),
            BODY[:-1] + b',"quantity":"5"}',
            BODY[:-1] + b',"client_tag":"a","client_tag":"a"}',
            BODY[:-1] + b',"client\\u005ftag":"a","client_tag":"a"}',
            b"quantity=1&price=2",
        ],
    )


async def test_bad_members(database: Any, refused: Any) -> None:
    surrogates = ['"\\ud800"', '"\\udfff"', '"a\\ud83d"']
    controls = [
        '"\\u0000"',
        '"a\\u0000b"',
        '"\\n"',
        '"\\u007f"',
        '"\\u200b"',
        '"\\u202e"',
        '"\\u0085"',
    ]
    await refused(
        database,
        [
            *(
                with_member("client_tag", text)
                for text in [*surrogates, *controls, '""', "1", "[]"]
            ),
            with_member("client_tag", json.dumps("x" * 65)),
            b'{"client_tag":"\xed\xa0\x80"}',
            *(
                with_member(text, "1")
                for text in ("surprise", "\\ud800", "\\u0000", "a/b~c", "x" * 9000)
            ),
            *(
                with_member("account", text)
                for text in ('"UPPER"', '"a b"', '"paper-1\\n"', '""', "null", "7", '"é"')
            ),
            *(
                with_member("symbol", text)
                for text in ('"btc/usdt"', '"BTCUSDT"', '"BTC/USDT\\n"', '"/"', '"ＢTC/USDT"')
            ),
            *(with_member("side", text) for text in ('"BUY"', '"long"', "0", "null")),
            *(with_member("type", text) for text in ('"stop_limit"', '"Limit"', "null")),
            *(with_member("time_in_force", text) for text in ('"GTC"', '"day"', "null")),
            *(with_member("post_only", text) for text in ('"true"', "1", "0", "null")),
            *(
                with_member("expires_at", text)
                for text in (
                    '"soon"',
                    "1763805605",
                    '"1763805605"',
                    '"2026-11-22"',
                    '"2026-11-22T10:00:05"',
                    '"2026-13-22T10:00:05Z"',
                    '"2026-11-22T10:00:61Z"',
                    '"0001-01-01T00:00:00+23:59"',
                    '"9999-12-31T23:59:59-23:59"',
                    '"1999-01-01T00:00:00Z"',
                    '"٢026-11-22T10:00:05Z"',
                )
            ),
            *(
                json.dumps(limit_order(**changes)).encode()
                for changes in (
                    {"type": "market"},
                    {"type": "market", "price": None, "time_in_force": "ioc"},
                    {"type": "market", "price": None, "post_only": True},
                    {"price": None},
                    {"post_only": True, "time_in_force": "ioc"},
                )
            ),
        ],
    )


async def test_what_is_allowed(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for changes in (
            {"client_tag": "Zürich 漢字 😀"},
            {"expires_at": "2099-11-22T10:00:05.123456789+02:00"},
            {"post_only": True},
            {"time_in_force": "ioc"},
            {"time_in_force": "fok"},
            {"type": "market", "price": None},
            {"type": "market", "price": None, "time_in_force": "gtc"},
        ):
            reply = await place(bot, **changes)
            assert reply.status_code == 202, reply.text
        shown = (await bot.get("/v1/orders")).json()["orders"]
        assert shown[-1]["client_tag"] == "Zürich 漢字 😀"
        assert shown[-2]["expires_at"] == "2099-11-22T08:00:05.123456Z"


async def test_large_bodies_are_not_read(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        announced = await post(bot, b"x" * (16 * 1024 + 1))
        assert (announced.status_code, problem(announced)) == (413, "body-too-large")
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            while sent < 10_000_000:
                sent += 4096
                yield b" " * 4096

        reply = await bot.post(
            "/v1/orders",
            content=endless(),
            headers={"Content-Type": "application/json", "Idempotency-Key": fresh_key()},
        )
        assert problem(reply) == "body-too-large"
        exact = BODY + b" " * (16 * 1024 - len(BODY))
        assert (await post(bot, exact)).status_code == 202


@pytest.mark.parametrize(
    "media",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonx",
    ],
)
async def test_other_media_types(database: Any, media: str) -> None:
    async with world(database) as made, made.client() as bot:
        headers = {"Idempotency-Key": fresh_key(), **({"Content-Type": media} if media else {})}
        reply = await bot.post("/v1/orders", content=BODY, headers=headers)
        assert (reply.status_code, problem(reply)) == (415, "media-type-unsupported")


async def test_json_with_a_charset(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for media in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
            assert (await post(bot, BODY, Content_Type=media)).status_code == 202


async def test_idempotency_keys(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        json_type = {"Content-Type": "application/json"}
        missing = await bot.post("/v1/orders", content=BODY, headers=json_type)
        assert (missing.status_code, problem(missing)) == (400, "idempotency-key-missing")
        for key in (
            "",
            "short",
            "x" * 15,
            "x" * 65,
            "x" * 16 + " y",
            "x" * 16 + "/",
            '"' + "x" * 16,
            '"' + "x" * 16 + '";a=1',
            '"' + "x" * 16 + '", "' + "y" * 16 + '"',
            "é" * 16,
            '"short"',
            '"' + "x" * 65 + '"',
            "x" * 16 + ", " + "y" * 16,
        ):
            raw = key.encode("latin-1")
            headers = [(b"content-type", b"application/json"), (b"idempotency-key", raw)]
            reply = await bot.post("/v1/orders", content=BODY, headers=headers)
            assert (reply.status_code, problem(reply)) == (400, "idempotency-key-invalid"), key
        for key in ("x" * 16, "y" * 64, "A-Z.a:z_0123456789"):
            assert (await post(bot, BODY, key)).status_code == 202
        quoted = await post(bot, BODY, '"' + "x" * 16 + '"')
        assert quoted.headers["idempotent-replayed"] == "true"
        assert quoted.headers["idempotency-key"] == "x" * 16


async def test_keys_from_the_future(database: Any) -> None:
    async with world(database) as made, made.client() as bot:

        def key_at(ahead: timedelta) -> str:
            moment_ms = int((datetime.now(UTC) + ahead).timestamp() * 1000)
            tail = str(uuid_utils.uuid7())[14:]
            digits = f"{moment_ms:012x}"
            return f"{digits[:8]}-{digits[8:]}-{tail}"

        early = await post(bot, BODY, key_at(timedelta(minutes=6)))
        assert problem(early) == "idempotency-key-invalid"
        assert (await post(bot, BODY, key_at(timedelta(minutes=4)))).status_code == 202
        assert (await post(bot, BODY, key_at(-timedelta(days=400)))).status_code == 202


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Idempotency-Key", "idempotency-key-invalid"),
        ("Authorization", "request-invalid"),
        ("Content-Type", "request-invalid"),
        ("Content-Length", "request-invalid"),
        ("Host", "request-invalid"),
    ],
)
async def test_two_lines_of_a_header(database: Any, name: str, kind: str) -> None:
    async with world(database) as made, made.client() as bot:
        once = {
            "Idempotency-Key": fresh_key(),
            "Authorization": f"Bearer {made.key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(BODY)),
            "Host": "api",
        }
        request = httpx.Request(
            "POST",
            "http://api/v1/orders",
            content=BODY,
            headers=[*once.items(), (name, once[name])],
        )
        reply = await bot.send(request)
        assert (reply.status_code, problem(reply)) == (400, kind)


async def test_a_key_in_the_url(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for path in (
            f"/v1/whoami?key={made.key}",
            f"/v1/orders/{made.key}",
            f"/?x=oo_live_{'a' * 12}",
        ):
            reply = await bot.get(path)
            assert (reply.status_code, problem(reply)) == (400, "request-invalid")
            assert made.key not in reply.text


async def test_authorization(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for value in (
            "",
            "Bearer",
            "Basic abc",
            made.key,
            f"Bearer {made.key[:-1]}",
            f"Bearer {made.key} x",
            "Bearer é",
        ):
            reply = await bot.get(
                "/v1/whoami", headers=[(b"authorization", value.encode("latin-1"))]
            )
            assert (reply.status_code, problem(reply)) == (401, "credentials-invalid")
            assert reply.headers["www-authenticate"] == "Bearer"
        anonymous = httpx.AsyncClient(
            transport=httpx.ASGITransport(made.api.bots), base_url="http://api"
        )
        assert (await anonymous.get("/v1/whoami")).status_code == 401
        assert (await anonymous.get("/v1/time")).status_code == 200
        await anonymous.aclose()


async def test_scopes(database: Any) -> None:
    order = "/v1/orders/0193a1b2-7c5e-7d11-9a57-3f7b6f1c2d44"
    needs = [
        ("POST", "/v1/orders", "orders:write"),
        ("POST", f"{order}/cancel", "orders:cancel"),
        *(
            ("GET", path, "orders:read")
            for path in (
                "/v1/orders",
                order,
                "/v1/orders/by-key/xxxxxxxxxxxxxxxx",
                f"{order}/events",
                f"{order}/fills",
                "/v1/accounts",
                "/v1/instruments?account=paper-1",
            )
        ),
    ]
    async with world(database) as made:
        for scope in ("orders:read", "orders:write", "orders:cancel"):
            async with made.client(await made.new_key(scopes=[scope])) as bot:
                for method, path, needed in needs:
                    reply = await bot.request(method, path)
                    assert (reply.status_code == 403) == (scope != needed), (
                        scope,
                        path,
                        reply.text,
                    )
                assert (await bot.get("/v1/whoami")).json()["scopes"] == [scope]


async def test_unknown_routes_methods_and_parameters(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for path in (
            "/",
            "/v1",
            "/v2/orders",
            "/v1/orders/",
            "/docs",
            "/openapi.json",
            "/livez",
            "/%00",
            "/v1/keys",
        ):
            reply = await bot.get(path)
            assert (reply.status_code, problem(reply)) == (404, "not-found"), path
        for method, path in (
            ("DELETE", "/v1/orders"),
            ("PUT", "/v1/orders"),
            ("POST", "/v1/time"),
            ("HEAD", "/v1/time"),
        ):
            reply = await bot.request(method, path)
            assert reply.status_code == 405
            assert reply.headers["allow"]
        for query in (
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=1e2",
            "limit=",
            "limit=٣",
            "limit=5&limit=6",
            "status=done",
            "account=",
            "account=A",
            "cursor=x",
            "cursor=",
            "cursor=MTo",
            "cursor=" + "A" * 100,
            "cursor=MTotMQ",
            "cursor=%00",
            "surprise=1",
            "cursor=MTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
            "account=paper-1%00",
            "status=%ff",
        ):
            reply = await bot.get(f"/v1/orders?{query}")
            assert (reply.status_code, problem(reply)) == (400, "request-invalid"), query
        for path in (
            "/v1/orders/x",
            "/v1/orders/by-key/x",
            "/v1/orders/by-key/%00%00",
            "/v1/orders/x/events",
            "/v1/orders/x/fills",
        ):
            assert problem(await bot.get(path)) == "not-found", path
        assert problem(await bot.get("/v1/instruments")) == "request-invalid"
        assert problem(await bot.get("/v1/instruments?account=nobody")) == "not-found"


async def test_every_problem_type_has_its_page(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for kind in errors.PROBLEMS:
            page = await bot.get(f"/errors/{kind.type}")
            assert page.status_code == 200
            assert page.text.startswith(f"# {kind.type} ({kind.status})\n")
        assert (await bot.get("/errors/..%2fsettings")).status_code == 404
        assert (await bot.get("/errors/nothing")).status_code == 404


async def test_what_belongs_to_others_does_not_exist(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        order = (await place(bot, key)).json()["order_id"]
        paths = [f"/v1/orders/{order}{end}" for end in ("", "/events", "/fills")] + [
            f"/v1/orders/by-key/{key}"
        ]
        assert {(await bot.get(path)).status_code for path in paths} == {200}
        for stranger in (await made.new_key("other"), await made.new_key(accounts=["paper-2"])):
            async with made.client(stranger) as other:
                assert {(await other.get(path)).status_code for path in paths} == {404}
                assert (await other.get("/v1/orders")).json()["orders"] == []
        async with made.client(await made.new_key(accounts=["paper-2"])) as other:
            assert (await other.get("/v1/orders?account=paper-1")).status_code == 404
            assert (await other.get("/v1/instruments?account=paper-1")).status_code == 404
            seen = (await other.get("/v1/accounts")).json()["accounts"]
            assert [account["account"] for account in seen] == ["paper-2"]


async def test_pages_neither_skip_nor_repeat(database: Any) -> None:
    """Guard: the cursor is a unique number, not a time: here all orders share one moment."""
    async with world(database) as made, made.client() as bot:
        replies = await asyncio.gather(
            *(place(bot, account=f"paper-{n % 2 + 1}") for n in range(25)),
        )
        await made.owner.execute("UPDATE api.orders SET accepted_at = '2026-01-01T00:00:00Z'")
        wanted = {reply.json()["order_id"] for reply in replies}
        for query, count in (
            ("", 25),
            ("&account=paper-1", 13),
            ("&status=accepted", 25),
            ("&status=filled", 0),
        ):
            found, cursor, pages = [], "", 0
            while True:
                page = (await bot.get(f"/v1/orders?limit=7{query}{cursor}")).json()
                found += [order["order_id"] for order in page["orders"]]
                pages += 1
                if page["next_cursor"] is None:
                    break
                cursor = f"&cursor={page['next_cursor']}"
                if pages == 1:  # a newer order does not shift the pages behind it
                    await place(bot, account="paper-2", client_tag="late")
            assert len(found) == len(set(found)) == count
            assert set(found) <= wanted
            await made.owner.execute(
                "DELETE FROM api.outbox WHERE order_id NOT IN (SELECT unnest($1::uuid[]))", wanted
            )
            await made.owner.execute("DELETE FROM api.orders WHERE client_tag = 'late'")


async def test_the_rate_of_a_key(database: Any) -> None:
    async with world(database) as made:
        limited_key = await made.new_key(orders_per_second=5)
        async with made.client(limited_key) as bot:
            key = fresh_key()
            replies = [await place(bot) for _ in range(5)]
            limited = await place(bot, key)
            assert {reply.status_code for reply in replies} == {202}
            assert (limited.status_code, problem(limited)) == (429, "rate-limited")
            assert limited.headers["retry-after"] == "1"
            order = replies[0].json()["order_id"]
            assert (
                await bot.post(
                    f"/v1/orders/{order}/cancel", headers={"Idempotency-Key": fresh_key()}
                )
            ).status_code == 202
            await asyncio.sleep(1.05)
            assert (await place(bot, key)).status_code == 202


async def test_instruments(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        listed = (await bot.get("/v1/instruments?account=paper-1")).json()
        assert (listed["account"], listed["venue"]) == ("paper-1", "paper")
        (instrument,) = listed["instruments"]
        assert (instrument["symbol"], instrument["tick_size"], instrument["step_size"]) == (
            "BTC/USDT",
            "0.01",
            "0.00001",
        )
