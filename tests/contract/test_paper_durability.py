"""Killed at any moment and started again, the venue has forgotten nothing that it answered."""

import asyncio
import os
import signal
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.paper.process import Paper, command, running, until
from tests.unit.paper.sockets import connected, sign

VIEWS = ("orders", "trades", "balances", "accounts")


async def views(paper: Paper) -> dict[str, Any]:
    return {name: await paper.control("GET", name) for name in VIEWS}


async def kill(paper: Paper) -> None:
    os.kill(paper.process.pid, signal.SIGKILL)
    await paper.process.wait()


async def test_everything_is_there_again(tmp_path: Path) -> None:
    async with running(tmp_path) as paper:
        await paper.order(newClientOrderId="filled", quantity="5")
        await paper.limit(newClientOrderId="resting", price="59000")
        await paper.limit(newClientOrderId="crossed", price="59900")
        await paper.limit(newClientOrderId="gone")
        which = {"symbol": "BTCUSDT", "origClientOrderId": "gone"}
        await paper.signed("DELETE", "/api/v3/order", which)
        await paper.order(symbol="WEIUSDT", quantity="1.000000000000000001")
        await paper.price("BTCUSDT", "59700.00", "59800.00")
        dust = {"account": "paper-3", "asset": "DUST", "amount": "0.00000001"}
        await paper.control("POST", "trade", dust)
        by_hand = {"account": "paper-2", "symbol": "ETHUSDT", "side": "SELL"}
        by_hand |= {"quantity": "1", "price": "3100"}
        await paper.control("POST", "trade", by_hand)
        await paper.control("POST", "trade", {"bust": 1, "symbol": "WEIUSDT"})
        await paper.fault("accept_then_timeout", seconds=30)
        lost = asyncio.create_task(paper.order(newClientOrderId="unheard"))

        async def unheard() -> bool:
            found = await paper.control("GET", "orders?client_order_id=unheard")
            return bool(found["orders"])

        await until(unheard)
        before = await views(paper)
        log = await paper.control("GET", "requests")
        depth = await paper.http.get(f"{paper.rest}/api/v3/depth?symbol=BTCUSDT")
        await kill(paper)
        with pytest.raises(httpx.TransportError):
            await lost
        keys = paper.keys
    async with running(tmp_path) as paper:
        assert paper.keys == keys
        assert await views(paper) == before
        kept = await paper.control("GET", f"requests?limit={len(log['requests'])}")
        assert kept["requests"] == log["requests"]
        again = await paper.http.get(f"{paper.rest}/api/v3/depth?symbol=BTCUSDT")
        assert again.json() == depth.json()
        duplicate = await paper.limit(newClientOrderId="resting")
        assert duplicate.json()["msg"] == "Duplicate order sent."
        more = (await paper.order()).json()
        made = [o["order_id"] for o in before["orders"]["orders"] if o["symbol"] == "BTCUSDT"]
        assert more["orderId"] == max(made) + 1


@pytest.mark.parametrize("flags", [(), ("--no-fsync",)])
async def test_killed_under_load_every_answered_order_is_there(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    heard: dict[str, int] = {}
    sent: set[str] = set()

    async def bot(paper: Paper, name: str) -> None:
        for n in range(100_000):
            client_id = f"{name}-{n}"
            sent.add(client_id)
            try:
                answer = await paper.order(newClientOrderId=client_id, quantity="0.0001")
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            heard[client_id] = answer.json()["orderId"]

    for round_number in range(2):
        async with running(tmp_path, *flags) as paper:
            bots = [asyncio.create_task(bot(paper, f"r{round_number}b{b}")) for b in range(10)]
            target = len(heard) + 150

            async def enough(target: int = target) -> bool:
                return len(heard) >= target

            await until(enough, limit_s=30)
            await kill(paper)
            await asyncio.gather(*bots)
    async with running(tmp_path, *flags) as paper:
        rows = (await paper.control("GET", "orders"))["orders"]
        book = {row["client_order_id"]: row["order_id"] for row in rows}
        assert len(book) == len(rows), "no order twice"
        assert heard.items() <= book.items()
        assert set(book) <= sent
        log = (await paper.control("GET", "requests?limit=100000"))["requests"]
        executed = {row["client_order_id"] for row in log if row["executed"]}
        assert executed == set(book)
        assert [row["seq"] for row in log] == list(range(1, len(log) + 1))


async def run_to_end(folder: Path, *flags: str) -> tuple[int | None, str]:
    argv, env = command(folder, *flags)
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_how_it_starts_and_stops(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    async with running(folder) as paper:
        assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
        assert set(paper.keys["accounts"]) == {f"paper-{n}" for n in range(1, 9)}
        assert paper.keys["accounts"]["paper-1"]["uid"] == 1001
        port = paper.rest.rsplit(":", 1)[1]
        code, words = await run_to_end(tmp_path / "other", "--port", port)
        assert code == 1
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in words
        assert "Traceback" not in words
        code, words = await run_to_end(folder)
        assert (code, "another paper exchange is running" in words) == (1, True)
        paper.process.terminate()
        assert await paper.process.wait() == 0
    code, words = await run_to_end(folder, "--help")
    assert code == 0
    assert "--engine-delay-ms" in words


async def test_a_damaged_journal_is_a_plain_sentence(tmp_path: Path) -> None:
    async with running(tmp_path) as paper:
        await paper.order()
        await paper.order()
        await kill(paper)
    journal = tmp_path / "journal.log"
    journal.write_bytes(journal.read_bytes().replace(b'"BUY"', b'"SEL"', 1))
    code, words = await run_to_end(tmp_path)
    assert (code, "is damaged at byte" in words) == (1, True)
    assert "Traceback" not in words


async def test_no_secret_in_journal_or_log(tmp_path: Path) -> None:
    argv, env = command(tmp_path / "data", "--log-level", "debug")
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.terminate()
    _, log = await process.communicate()
    async with running(tmp_path / "data") as paper:
        await paper.order()
        answer = await paper.order(secret="wrong")
        assert answer.status_code == 200
        async with connected(paper) as wire:
            await wire.signed("session.logon", kind="ed25519")
            await wire.ask("order.place", {"timestamp": 1, "symbol": "BTCUSDT"})
            await wire.ask("no.method", sign(paper, {}))
        text = (tmp_path / "data" / "journal.log").read_bytes() + log
        for account in paper.keys["accounts"].values():
            for pair in (account["trade"], account["read"]):
                assert pair["secret"].encode() not in text
                assert pair["api_key"].encode() not in text
            assert account["ed25519"]["private_key"].split("\n")[1].encode() not in text
            assert account["ed25519"]["api_key"].encode() not in text
        assert b"signature" not in text
