"""A line in containers under a steady flow of orders, and what must hold when it is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

from tests.auditor import Doors, audit_settled, report
from tests.line import Line, until
from tests.stacks.containers import Contained, Site
from tests.workload import Attempt, Bot, market_order

AT_ONCE = 16  # orders in flight
FLOW_S = 100.0  # all orders answered, an outage among them
# The longest: an outage, Postgres' patience with a silent session, window, step allowance, late
# visibility, Kafka's session.
SETTLE_S = 60.0
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


@dataclass
class Field:
    """The site, the line on it, and its bot."""

    site: Site
    line: Line
    bot: Bot
    accounts: tuple[str, ...]

    @property
    def apis(self) -> list[Contained]:
        return cast(list[Contained], self.line.apis)

    @property
    def executors(self) -> list[Contained]:
        return cast(list[Contained], self.line.executors)

    @asynccontextmanager
    async def flow(self, count: int, begun: int) -> AsyncIterator[None]:
        """Orders over all accounts, flowing while the block runs, which begins when `begun` of them
        are answered; at the end all of them are accepted, final, and clean by the auditor."""
        async with self.unjudged_flow(count, begun) as flowing:
            yield
            attempts = await flowing
        assert {attempt.status for attempt in attempts} == {202}
        await self.judge()

    @asynccontextmanager
    async def unjudged_flow(
        self, count: int, begun: int
    ) -> AsyncIterator[Awaitable[list[Attempt]]]:
        """The flow alone; gives what to await for its answers."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> Attempt:
            async with gate:
                account = self.accounts[number % len(self.accounts)]
                return await self.bot.place(market_order(account))

        flowing = asyncio.gather(*(one(number) for number in range(count)))
        try:
            await until(lambda: self.answered >= begun, FLOW_S, f"{begun} orders are answered")
            assert not flowing.done(), "the flow is over before the trouble begins"
            yield asyncio.wait_for(flowing, FLOW_S)
        finally:
            flowing.cancel()
            await asyncio.wait({flowing})

    @property
    def answered(self) -> int:
        return sum(attempt.decided for attempt in self.bot.record.attempts)

    async def judge(self) -> None:
        """Nothing lost, nothing doubled, the ledger equal, by requests, replies and the book."""
        line = self.line
        for child in line.children:
            if child.running:
                await child.wait_ready(line.http)
        doors = Doors(
            line.api_urls, line.control_url, line.ledger_url, self.bot.bearer, self.accounts
        )
        found = await audit_settled(doors, self.bot.record, limit_s=SETTLE_S, exclusive=False)
        assert not found, report(found)

    async def start_dead(self) -> None:
        """What an orchestrator does: whoever has ended is started again."""
        for child in self.line.children:
            if not child.running:
                await asyncio.to_thread(child.start)

    @asynccontextmanager
    async def cut(
        self, boxes: Iterable[Contained], path: str, to: tuple[str, int]
    ) -> AsyncIterator[None]:
        """These containers without their cable to `path`, proven by a connection that fails."""
        boxes = list(boxes)
        for box in boxes:
            assert await self.reaches(box, to)
            await asyncio.to_thread(box.cut, path)
        try:
            for box in boxes:
                assert not await self.reaches(box, to)
            yield
        finally:
            for box in boxes:
                await asyncio.to_thread(box.mend)
        for box in boxes:
            assert not box.running or await self.reaches(box, to)

    async def reaches(self, box: Contained, to: tuple[str, int]) -> bool:
        """Whether a program in that container can connect to host and port."""
        command = ["python", "-c", CONNECT, to[0], str(to[1])]
        return (await asyncio.to_thread(box.container.exec_run, command)).exit_code == 0


@asynccontextmanager
async def open_field(site: Site, line: Line, accounts: tuple[str, ...]) -> AsyncIterator[Field]:
    """That line on that site, and a bot of its own."""
    _, key = await line.make_key(f"bot-{uuid4().hex[:8]}")
    bot = Bot(line.api_urls, key)
    yield Field(site, line, bot, accounts)
    await bot.close()
