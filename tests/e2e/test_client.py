"""The client and the examples against the real line: killed anywhere, one order per intent."""

import asyncio
import os
import sys
import time
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from orderonce import (
    AsyncClient,
    Client,
    IntentOld,
    IntentStore,
    KeyReused,
    NewOrder,
    OrderDenied,
    Placed,
    new_key,
)

from tests.line import Line, until
from tests.stacks.processes import INHERITED

ROOT = Path(__file__).parents[2]
KILLS = 10  # runs that are killed, spread over all lines that the bot runs through
RUN_LIMIT_S = 60.0

# Runs a script and kills the process at the n-th line of the bot or the client; n of 0 counts them.
TRACER = """
import os, runpy, signal, sys
script, last = sys.argv[1], int(sys.argv[2])
lines = 0
def trace(frame, event, arg):
    global lines
    if event == "call":
        name = frame.f_code.co_filename
        return trace if name == script or "/client/orderonce/" in name else None
    if event == "line":
        lines += 1
        if lines == last:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
sys.argv = [script]
runpy.run_path(script, run_name="__main__")
sys.settrace(None)
print("lines", lines)
"""


class World:
    """One API key of a client of its own, and its files."""

    def __init__(self, line: Line, folder: Path, key: str) -> None:
        self.line = line
        self.folder = folder
        self.key_file = folder / "bot.key"
        self.key_file.write_text(key)

    @property
    def env(self) -> dict[str, str]:
        return {
            **INHERITED,
            "ORDERONCE_API": ",".join(self.line.api_urls),
            "ORDERONCE_KEY_FILE": str(self.key_file),
            "BOT_INTENTS": str(self.folder / f"{uuid4().hex}.db"),
            "BOT_DAY": uuid4().hex,
        }

    def client(self) -> Client:
        return Client(
            self.line.api_urls, key_file=self.key_file, intents=self.folder / "intents.db"
        )


@pytest.fixture
async def world(line: Line, tmp_path: Path) -> World:
    _, key = await line.make_key(f"sdk-{uuid4().hex[:8]}")
    return World(line, tmp_path, key)


async def run(env: dict[str, str], *argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), RUN_LIMIT_S)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def bot(env: dict[str, str], last_line: int) -> tuple[int, str]:
    script = str(ROOT / "examples/bot.py")
    return await run(env, sys.executable, "-c", TRACER, script, str(last_line))


@pytest.mark.timeout(300)
async def test_the_example_bot_may_be_killed_at_any_line(world: World) -> None:
    code, out = await bot(world.env, 0)
    assert code == 0, out
    lines = int(out.split()[-1])
    before = len(await asyncio.to_thread(lambda: list(world.client().orders())))
    assert before == 3, out

    killed = 0  # a run that followed its orders in fewer looks ends before a late line
    for number in range(KILLS):
        env, killed_at = world.env, 1 + number * (lines - 1) // (KILLS - 1)
        code, out = await bot(env, killed_at)
        assert code in (0, -9), f"line {killed_at} of {lines}: {out}"
        killed += code == -9
        code, out = await run(env, sys.executable, "examples/bot.py")
        assert code == 0, f"killed at line {killed_at} of {lines}: {out}"

    assert killed > KILLS // 2
    with world.client() as client:
        orders = await asyncio.to_thread(lambda: list(client.orders()))
    assert len(orders) == before * (KILLS + 1)
    assert sum(order.status == "denied" for order in orders) == KILLS + 1
    for order in orders:
        created = await world.line.executed_creates(order.client_order_id)
        assert len(created) == (0 if order.status == "denied" else 1), order


async def test_the_curl_example_runs(world: World) -> None:
    code, out = await run({**world.env, "ORDERONCE_API": world.line.api_urls[0]},
                          "sh", "examples/curl.sh")  # fmt: skip

    assert code == 0, out
    assert '"status":"canceled"' in out.splitlines()[-1]


async def test_a_lost_api_is_met_with_the_next_one(world: World) -> None:
    world.line.apis[0].kill()
    async with AsyncClient(world.line.api_urls, key_file=world.key_file) as client:
        key = new_key()
        placed = await client.place(market(), key=key)
        again = await client.place(market(), key=key)

        end = await client.follow(placed.order_id)

    assert (placed.replayed, again.replayed) == (False, True)
    assert (end.status, end.filled_quantity) == ("filled", Decimal("0.001"))


async def test_waiting_shows_the_end_in_the_reply(world: World) -> None:
    async with AsyncClient(world.line.api_urls, key_file=world.key_file) as client:
        placed = await client.place(market(), key=new_key(), wait_s=5)

    assert placed.order is not None
    assert placed.order.status == "filled"


async def test_a_key_of_another_order_names_what_differs(world: World) -> None:
    async with AsyncClient(world.line.api_urls, key_file=world.key_file) as client:
        key = new_key()
        placed = await client.place(market(), key=key)
        with pytest.raises(KeyReused) as told:
            await client.place(market("0.002"), key=key)

    assert (told.value.order_id, told.value.differs) == (placed.order_id, ["quantity"])


async def test_a_denied_intent_stays_denied(world: World) -> None:
    def twice() -> list[str]:
        codes = []
        with world.client() as client:
            for _ in range(2):
                with pytest.raises(OrderDenied) as told:
                    client.place(market("0.00000001"), "dust")
                codes.append(told.value.code)
        return codes

    assert len(set(await asyncio.to_thread(twice))) == 1


class Aged:
    """An intent of a minute ago, as a bot finds it after its start, and its key."""

    def __init__(self, world: World) -> None:
        self.store = IntentStore(world.folder / "aged.db", clock=lambda: self.now)
        self.now = time.time() - 60.0
        self.key = self.store.keep("one", market().body()).key
        self.now += 60.0


async def test_an_old_intent_is_burnt_and_what_was_on_its_way_makes_no_order(world: World) -> None:
    """The bot's API key may not read."""
    _, key = await world.line.make_key(f"sdk-{uuid4().hex[:8]}", scopes=["orders:write"])
    reader = await reader_of(world, key)
    aged = Aged(world)
    async with AsyncClient(world.line.api_urls, api_key=key, intents=aged.store) as client:
        for _ in range(2):
            with pytest.raises(IntentOld):
                await client.place(market(), "one")
        with pytest.raises(KeyReused) as told:
            await client.place(market(), key=aged.key)
        aged.store.forget("one")
        placed = await client.place(market(), "one")
    async with AsyncClient(world.line.api_urls, api_key=reader) as client:
        end = await client.follow(placed.order_id)
        burnt = await client.order_by_key(aged.key)

    assert told.value.differs == ["expires_at"]
    assert end.status == "filled"
    assert (burnt.status, burnt.reason and burnt.reason.code) == ("denied", "expires-in-past")
    assert len(await world.line.executed_creates(end.client_order_id)) == 1
    assert await world.line.creates(burnt.client_order_id) == []


async def reader_of(world: World, key: str) -> str:
    """A second API key of the same client, which may read."""
    headers = {"Authorization": f"Bearer {key}"}
    shown = (
        await world.line.http.get(f"{world.line.api_urls[0]}/v1/whoami", headers=headers)
    ).json()
    _, reader = await world.line.make_key(shown["client"])
    return reader


async def test_an_old_intent_that_was_accepted_gets_its_answer(world: World) -> None:
    aged = Aged(world)
    async with AsyncClient(
        world.line.api_urls, key_file=world.key_file, intents=aged.store
    ) as client:
        first = await client.place(market(), key=aged.key)  # its answer was lost

        again = await client.place(market(), "one")
        await client.follow(first.order_id)

    assert (again.order_id, again.replayed) == (first.order_id, True)
    assert len(await world.line.executed_creates(first.client_order_id)) == 1


async def test_an_order_and_the_end_of_its_intent_may_meet(world: World) -> None:
    """Whoever is first: both hear the same, over two processes of the API."""
    heard = []
    for number in range(20):
        aged = Aged(world)
        urls = world.line.api_urls[:: 1 if number % 2 else -1]
        async with (
            AsyncClient(world.line.api_urls, key_file=world.key_file) as sender,
            AsyncClient(urls, key_file=world.key_file, intents=aged.store) as bot,
        ):
            late, old = await asyncio.gather(
                sender.place(market(), key=aged.key),
                bot.place(market(), "one"),
                return_exceptions=True,
            )
        aged.store.forget("one")
        heard.append((late, old))

    for late, old in heard:
        if isinstance(old, Placed):
            assert isinstance(late, Placed)
            assert late.order_id == old.order_id
        else:
            assert isinstance(old, IntentOld)
            assert isinstance(late, KeyReused)


async def test_cancel_fills_events_and_instruments_are_typed(world: World) -> None:
    async with AsyncClient(world.line.api_urls, key_file=world.key_file) as client:
        rows = {row.symbol: row for row in await client.instruments("paper-2")}
        assert rows["BTC/USDT"].tick_size > 0
        placed = await client.place(
            NewOrder("paper-2", "BTC/USDT", "buy", "limit", "0.001", Decimal("30000")),
            key=new_key(),
        )

        async def is_open() -> bool:
            return (await client.order(placed.order_id)).status == "open"

        await until(is_open, 20.0, "the order rests")
        await client.cancel(placed.order_id, key=new_key())
        end = await client.follow(placed.order_id)
        filled = await client.follow((await client.place(market(), key=new_key())).order_id)

        async def fills_are_told() -> bool:  # they come by a topic of their own
            fills = await client.fills(filled.order_id)
            return sum(fill.quantity for fill in fills) == filled.filled_quantity

        await until(fills_are_told, 20.0, "the fills add up")
        events = await client.events(placed.order_id)
        listed = [order.order_id async for order in client.orders(account="paper-2", limit=1)]

    assert end.status == "canceled"
    assert events[0].status == "accepted"
    assert listed == [placed.order_id]


async def test_a_rotated_key_is_picked_up_without_a_restart(world: World) -> None:
    async with AsyncClient(world.line.api_urls, key_file=world.key_file) as client:
        first = await client.place(market(), key=new_key())
        old = world.key_file.read_text()
        kid = (await world.line.http.get(
            f"{world.line.api_urls[0]}/v1/whoami", headers={"Authorization": f"Bearer {old}"}
        )).json()  # fmt: skip
        _, fresh = await world.line.make_key(kid["client"])
        fresh_file = world.folder / "fresh.key"
        fresh_file.write_text(fresh)
        os.replace(fresh_file, world.key_file)
        await world.line.admin("POST", f"/v1/keys/{kid['kid']}/revoke", {})

        async def is_revoked() -> bool:
            headers = {"Authorization": f"Bearer {old}"}
            asked = [
                await world.line.http.get(f"{url}/v1/whoami", headers=headers)
                for url in world.line.api_urls
            ]
            return all(reply.status_code == 401 for reply in asked)

        await until(is_revoked, 20.0, "the old key is refused everywhere")
        assert (await client.order(first.order_id)).order_id == first.order_id


def market(quantity: str = "0.001") -> NewOrder:
    return NewOrder("paper-1", "BTC/USDT", "buy", "market", quantity)
