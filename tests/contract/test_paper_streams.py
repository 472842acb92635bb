"""What the streams say, when, to whom, and what becomes of a reader that does not read."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.test_paper_ws_api import LIMIT, MARKET
from tests.unit.paper.process import Paper, running, until
from tests.unit.paper.sockets import LIMIT_S, Wire, connected, sign

# Every field that the strictest client (nautilus) requires of a report.
REPORT_FIELDS = set("eEscSofqpPFgCxXrilzLTtIwmMOZYQ")


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def wire(paper: Paper) -> AsyncIterator[Wire]:
    async with connected(paper) as opened:
        await opened.subscribe()
        yield opened


def check_report(report: dict[str, Any]) -> None:
    assert set(report) >= REPORT_FIELDS
    for name in "qpPFlzLZYQ":
        assert isinstance(report[name], str), name
    for name in "EgiTtIO":
        assert type(report[name]) is int, name
    for name in "wmM":
        assert type(report[name]) is bool, name


async def test_a_market_order_over_several_levels(paper: Paper, wire: Wire) -> None:
    made = (await paper.order(quantity="5", newClientOrderId="big")).json()
    fills = made["fills"]
    reports = await wire.heard(1 + len(fills))
    assert len(fills) > 1
    assert [r["x"] for r in reports] == ["NEW"] + ["TRADE"] * len(fills)
    assert [r["X"] for r in reports][-2:] == ["PARTIALLY_FILLED", "FILLED"]
    done = spent = Decimal(0)
    for report, fill in zip(reports[1:], fills, strict=True):
        check_report(report)
        done, spent = done + Decimal(report["l"]), spent + Decimal(report["Y"])
        assert (Decimal(report["z"]), Decimal(report["Z"])) == (done, spent)
        assert (report["t"], report["L"], report["l"]) == (
            fill["tradeId"], fill["price"], fill["qty"],
        )  # fmt: skip
        assert (report["n"], report["N"], report["m"]) == (fill["commission"], "BTC", False)
        assert (report["c"], report["C"], report["i"]) == ("big", "", made["orderId"])
    assert len({r["I"] for r in reports}) == len(reports)
    shown = (await wire.heard(len(fills), "outboundAccountPosition"))[-1]["B"]
    account = (await paper.signed("GET", "/api/v3/account")).json()["balances"]
    now = {row["asset"]: (row["free"], row["locked"]) for row in account}
    assert {row["a"]: (row["f"], row["l"]) for row in shown} == {
        asset: now[asset] for asset in ("BTC", "USDT")
    }


async def test_an_orders_rest_cancel_and_expiry(paper: Paper, wire: Wire) -> None:
    made = (await paper.limit(newClientOrderId="mine")).json()
    (first,) = await wire.heard(1)
    check_report(first)
    assert (first["x"], first["X"], first["w"], first["p"]) == (
        "NEW", "NEW", True, "50000.00000000",
    )  # fmt: skip
    locked = (await wire.heard(1, "outboundAccountPosition"))[0]["B"][1]
    assert (locked["a"], locked["l"]) == ("USDT", "50.00000000")
    which = {"symbol": "BTCUSDT", "orderId": made["orderId"], "newClientOrderId": "the-cancel"}
    await paper.signed("DELETE", "/api/v3/order", which)
    gone = (await wire.heard(2))[-1]
    check_report(gone)
    assert (gone["x"], gone["X"], gone["c"], gone["C"]) == (
        "CANCELED", "CANCELED", "the-cancel", "mine",
    )  # fmt: skip
    assert (await wire.heard(2, "outboundAccountPosition"))[-1]["B"][1]["l"] == "0.00000000"
    await paper.limit(timeInForce="IOC", newClientOrderId="ioc")
    expired = (await wire.heard(4))[-1]
    assert (expired["x"], expired["X"], expired["c"], expired["C"]) == (
        "EXPIRED", "EXPIRED", "ioc", "",
    )  # fmt: skip


async def test_a_move_of_the_market_and_the_desk_are_heard_too(paper: Paper, wire: Wire) -> None:
    await paper.limit(price="59900", quantity="0.5", newClientOrderId="rests")
    await paper.price("BTCUSDT", "59700.00", "59800.00")
    filled = (await wire.heard(2))[-1]
    assert (filled["x"], filled["X"], filled["m"], filled["w"]) == ("TRADE", "FILLED", True, False)
    dust = {"account": "paper-1", "asset": "DUST", "amount": "-0.00000001"}
    await paper.control("POST", "trade", dust | {"amount": "0.00000002"})
    await paper.control("POST", "trade", dust)
    changes = await wire.heard(2, "balanceUpdate")
    assert [(c["a"], c["d"]) for c in changes] == [
        ("DUST", "0.00000002"), ("DUST", "-0.00000001"),
    ]  # fmt: skip
    await paper.control("POST", "trade", {"bust": filled["t"], "symbol": "BTCUSDT"})
    await wire.heard(5, "outboundAccountPosition")


async def test_a_trade_with_oneself_is_two_reports_of_one_trade(paper: Paper, wire: Wire) -> None:
    await paper.limit(price="60000.50", newClientOrderId="bid")
    await paper.limit(side="SELL", price="60000.50", newClientOrderId="ask")
    reports = [r for r in await wire.heard(4) if r["x"] == "TRADE"]
    assert [(r["c"], r["m"]) for r in reports] == [("ask", False), ("bid", True)]
    assert len({r["t"] for r in reports}) == 1
    assert len({r["I"] for r in reports}) == 2


async def test_the_refused_half_of_a_cancel_replace(paper: Paper, wire: Wire) -> None:
    first = (await paper.limit(newClientOrderId="old")).json()["orderId"]
    taking = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.001"}
    taking |= {"price": "60001", "cancelOrderId": first, "cancelReplaceMode": "STOP_ON_FAILURE"}
    answer = await paper.signed("POST", "/api/v3/order/cancelReplace", taking)
    assert answer.status_code == 409
    assert [x for x, _ in wire.reports()] == ["NEW", "CANCELED", "REJECTED"] or await wire.heard(3)
    refused = wire.events("executionReport")[-1]
    check_report(refused)
    assert (refused["X"], refused["r"], refused["i"]) == ("REJECTED", "WOULD_MATCH_IMMEDIATELY", -1)
    await paper.order(newOrderRespType="FULL", quantity="1001", side="SELL")
    await wire.ask("ping")
    assert len(wire.events("executionReport")) == 3, "a plain refusal is no event"


async def test_each_subscriber_hears_its_own_account_once(paper: Paper) -> None:
    async with connected(paper) as one, connected(paper) as two, connected(paper) as other:
        await one.subscribe()
        assert [await two.subscribe(), await two.subscribe()] == [0, 1]
        await other.subscribe("paper-2")
        await paper.order()
        await asyncio.gather(one.heard(2), two.heard(4))
        assert [f["subscriptionId"] for f in two.told if f["event"]["e"] == "executionReport"] == [
            0, 1, 0, 1,
        ]  # fmt: skip
        await other.ask("ping")
        assert other.told == []


async def test_no_event_comes_before_the_answer_to_its_subscription(paper: Paper) -> None:
    """Until then the client does not know the number; what happened meanwhile is not lost."""
    path = "userDataStream.subscribe.signature"
    await paper.fault("slow", ms=3000, where="reply", match={"path": path})
    async with connected(paper) as wire:
        subscribing = asyncio.create_task(wire.subscribe())

        async def subscribed() -> bool:
            rows = (await paper.control("GET", f"requests?path={path}"))["requests"]
            return bool(rows)

        await until(subscribed)
        await paper.order(newClientOrderId="meanwhile")
        assert not subscribing.done()
        await wire.ask("ping")
        assert wire.told == []
        assert await subscribing == 0
        assert [r["c"] for r in await wire.heard(2)] == ["meanwhile"] * 2


async def test_nothing_is_left_of_a_connection_that_went(paper: Paper) -> None:
    """Not even of a subscription that is granted after the client has left."""
    path = "userDataStream.subscribe.signature"
    await paper.fault("slow", ms=1000, where="engine", match={"path": path})
    async with connected(paper) as wire, connected(paper, "/ws/btcusdt@ticker"):
        asking = asyncio.create_task(wire.subscribe())

        async def met() -> bool:
            return bool((await paper.control("GET", "faults"))["faults"][0]["fired"])

        await until(met)
        asking.cancel()
    rows: list[Any] = []

    async def granted() -> bool:
        rows[:] = (await paper.control("GET", f"requests?path={path}"))["requests"]
        return bool(rows)

    await until(granted)
    assert rows[0]["status"] == 200
    health = await paper.control("GET", "health")
    assert (health["websockets"], health["subscriptions"]) == (0, 0)


async def test_the_order_of_events_is_the_order_of_things(paper: Paper, wire: Wire) -> None:
    """Fifty orders at once by both doors: reports come per order as it lived, ids as assigned."""
    rest = [paper.order(newClientOrderId=f"r{n}") for n in range(25)]
    frames = [wire.signed("order.place", MARKET | {"newClientOrderId": f"w{n}"}) for n in range(25)]
    await asyncio.gather(*rest, *frames)
    reports = await wire.heard(100)
    by_order: dict[int, list[str]] = {}
    for report in reports:
        by_order.setdefault(report["i"], []).append(report["X"])
    assert list(by_order.values()) == [["NEW", "FILLED"]] * 50
    assert list(by_order) == sorted(by_order)
    assert [r["t"] for r in reports if r["x"] == "TRADE"] == list(range(1, 51))
    assert [r["I"] for r in reports] == sorted(r["I"] for r in reports)


async def test_a_reader_that_sleeps_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    async with running(tmp_path, "--no-rate-limits") as paper, connected(paper) as wire:
        await wire.subscribe()
        sleeper = await _sleeping_subscriber(paper, wire)
        open_before = len(wire.events("executionReport"))

        async def cut() -> bool:
            await asyncio.gather(*(paper.order(quantity="5") for _ in range(20)))
            return _is_cut(sleeper)

        await until(cut, limit_s=90)
        await paper.order(newClientOrderId="after")
        await wire.until(lambda: wire.events("executionReport")[-1]["c"] == "after")
        assert len(wire.events("executionReport")) > open_before
        sleeper.close()


async def _sleeping_subscriber(paper: Paper, wire: Wire) -> socket.socket:
    """A raw connection that subscribes a thousand times and then never reads again."""
    host, port = paper.rest.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((host, int(port)))
    head = (
        "GET /ws-api/v3 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw.sendall(head.encode())
    assert b" 101 " in raw.recv(4096)
    params = sign(paper, {})
    for _ in range(20):
        asked = {"id": 1, "method": "userDataStream.subscribe.signature", "params": params}
        raw.sendall(_frame(json.dumps(asked).encode()))
    raw.setblocking(False)

    async def seen() -> bool:
        rows = (await paper.control("GET", "requests"))["requests"]
        return sum(row["ws_method"] == "userDataStream.subscribe.signature" for row in rows) >= 21

    await until(seen)
    return raw


def _frame(text: bytes) -> bytes:
    """A masked text frame of 126 to 65535 bytes, its mask zero."""
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + b"\0\0\0\0" + text


def _is_cut(raw: socket.socket) -> bool:
    """Whether the other side has torn the connection down: writing fails then."""
    try:
        raw.send(_frame(b'{"id":2,"method":"ping"}' + b" " * 200))
    except (ConnectionResetError, BrokenPipeError):
        return True
    except BlockingIOError:
        pass
    return False


async def test_silence_is_pinged_and_cut(tmp_path: Path) -> None:
    async with running(tmp_path, "--ping-seconds", "1") as paper, connected(paper) as wire:
        url = paper.rest.replace("http", "ws") + "/ws-api/v3"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, autoping=False) as silent,
        ):
            message = await silent.receive(timeout=LIMIT_S)
            assert message.type is aiohttp.WSMsgType.PING
            while message.type is aiohttp.WSMsgType.PING:
                message = await silent.receive(timeout=LIMIT_S)
            assert silent.closed or message.type in (
                aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR,
            )  # fmt: skip
        assert (await wire.ask("ping"))["status"] == 200, "who answers pings stays"


async def test_a_client_may_ping_too_and_close_in_order(paper: Paper) -> None:
    url = paper.rest.replace("http", "ws") + "/ws-api/v3"
    async with aiohttp.ClientSession() as session:
        opened = await session.ws_connect(url, autoping=False)
        await opened.ping(b"abc")
        answer = await opened.receive(timeout=LIMIT_S)
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"abc")
        await opened.close()
        assert opened.close_code == 1000
        opened = await session.ws_connect(url)
        await opened.send_bytes(b"binary")
        assert (await opened.receive(timeout=LIMIT_S)).data == 1003
        opened = await session.ws_connect(url)
        await opened.send_str("x" * 70_000)
        assert (await opened.receive(timeout=LIMIT_S)).data == 1009
        with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
            await session.ws_connect(paper.rest.replace("http", "ws") + "/other")
    plain = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer_http = await paper.http.get(f"{paper.rest}/ws-api/v3", headers=plain)
    assert answer_http.status_code == 400


async def test_market_streams_by_path_by_request_and_combined(paper: Paper) -> None:
    async with connected(paper, "/ws/btcusdt@trade") as wire:
        await paper.order(quantity="5")
        await wire.until(lambda: len(wire.told) > 1)
        assert (wire.told[0]["e"], wire.told[0]["p"]) == ("trade", "60001.00000000")
        assert wire.told[0]["m"] is False
    async with connected(paper, "/ws/0") as wire:
        names = ["btcusdt@ticker", "btcusdt@miniTicker", "btcusdt@bookTicker"]
        names += ["btcusdt@kline_1m", "btcusdt@depth5", "nothing@here"]
        assert (await wire.ask("SUBSCRIBE", names))["result"] is None  # type: ignore[arg-type]
        assert (await wire.ask("LIST_SUBSCRIPTIONS"))["result"] == ["0", *names]
        await wire.until(lambda: {"24hrTicker", "24hrMiniTicker", "kline"} <= _kinds(wire))
        await wire.until(lambda: any("u" in frame and "e" not in frame for frame in wire.told))
        await wire.until(lambda: any("lastUpdateId" in frame for frame in wire.told))
        candle = next(frame for frame in wire.told if frame.get("e") == "kline")["k"]
        assert candle["i"] == "1m"
        assert candle["T"] - candle["t"] == 59_999
        await paper.price("BTCUSDT", "59000", "59001")
        moved = "59000.00000000"
        await wire.until(lambda: any(f.get("b") == moved and "u" in f for f in wire.told))
        assert (await wire.ask("UNSUBSCRIBE", names))["result"] is None  # type: ignore[arg-type]
        assert (await wire.ask("LIST_SUBSCRIPTIONS"))["result"] == ["0"]
        wrong = await wire.ask("SUBSCRIBED")
        assert wrong["error"]["code"] == 2
    async with connected(paper, "/stream?streams=ethusdt@bookTicker/btcusdt@ticker") as wire:
        await wire.until(lambda: len(wire.told) > 1)
        assert {f["stream"] for f in wire.told} == {"ethusdt@bookTicker", "btcusdt@ticker"}
        best = next(f["data"] for f in wire.told if f["stream"] == "ethusdt@bookTicker")
        assert set(best) == set("usbBaA")


async def test_no_name_of_a_stream_opens_an_account(paper: Paper) -> None:
    """Market streams need no key; an account's events need one."""
    async with connected(paper, "/ws/user:paper-1") as wire:
        names = ["user:paper-1", "market:user:paper-1", "paper-1", "user:paper-1@trade"]
        await wire.ask("SUBSCRIBE", names)  # type: ignore[arg-type]
        await paper.order()
        await wire.ask("LIST_SUBSCRIPTIONS")
        assert wire.told == []


def _kinds(wire: Wire) -> set[str]:
    return {frame.get("e", "") for frame in wire.told}


async def test_listen_keys_are_there_only_when_asked_for(tmp_path: Path) -> None:
    path = "/api/v3/userDataStream"
    async with running(tmp_path / "a") as paper:
        headers = {"X-MBX-APIKEY": paper.pair()[0]}
        assert (await paper.http.post(paper.rest + path, headers=headers)).status_code == 404
    async with running(tmp_path / "b", "--listen-keys") as paper:
        headers = {"X-MBX-APIKEY": paper.pair()[0]}
        assert (await paper.http.post(paper.rest + path)).json()["code"] == -2014
        answer = await paper.http.post(paper.rest + path, headers=headers)
        key = answer.json()["listenKey"]
        async with (
            connected(paper, f"/ws/{key}") as raw,
            connected(paper, f"/stream?streams={key}") as combined,
        ):
            await paper.order()
            await raw.until(lambda: len(raw.told) >= 3)
            assert raw.told[0]["e"] == "executionReport"
            await combined.until(lambda: len(combined.told) >= 3)
            assert combined.told[0]["stream"] == key
            assert combined.told[0]["data"] == raw.told[0]
        kept = await paper.http.put(f"{paper.rest}{path}?listenKey={key}", headers=headers)
        assert kept.json() == {}
        other = {"X-MBX-APIKEY": paper.pair("paper-2")[0]}
        foreign = await paper.http.put(f"{paper.rest}{path}?listenKey={key}", headers=other)
        assert foreign.json()["code"] == -1125
        ended = await paper.http.delete(f"{paper.rest}{path}?listenKey={key}", headers=headers)
        assert ended.json() == {}
        again = await paper.http.put(f"{paper.rest}{path}?listenKey={key}", headers=headers)
        assert again.json()["code"] == -1125
        log = (tmp_path / "b" / "journal.log").read_text()
        assert key not in log


async def test_limit_orders_by_frames_are_heard_by_their_maker(paper: Paper, wire: Wire) -> None:
    await wire.signed("order.place", LIMIT | {"newClientOrderId": "f"})
    (report,) = await wire.heard(1)
    assert (report["c"], report["W"]) == ("f", report["O"])
