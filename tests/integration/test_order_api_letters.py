"""Dead letters as the order API keeps them: kept once, shown safely, replayed once, discarded, and
the orders that are parked by them.
"""

import asyncio
import base64
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from orderonce_api.letters import Arrived
from orderonce_shared.contracts.letters import Origin, letter_headers
from orderonce_shared.contracts.topics import COMMANDS, DLQ, FILLS, Headers

from tests.integration.test_order_api_follow import snapshot
from tests.unit.order_api.world import Api, World, fresh_key, place, problem, world

AT = "2026-01-22T10:00:00.000000Z"
PATH = "/v1/dead-letters"


def letter(
    value: bytes = b"not json",
    *,
    offset: int = 0,
    at: int = 0,
    key: bytes | None = b"paper-1",
    headers: Headers | None = None,
    topic: str = COMMANDS,
    seen: str = AT,
) -> Arrived:
    """A letter at DLQ offset `at` about the record at `offset`, refused at `seen`."""
    origin = Origin(topic, 3, offset, key, headers or [], "why it lies here", seen)
    return Arrived(DLQ, 0, at, key, value, letter_headers(origin))


async def listed(admin: httpx.AsyncClient, **asked: str) -> list[dict[str, Any]]:
    reply = await admin.get(PATH, params=asked)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["letters"]
    return found


async def test_a_letter_is_kept_once(database: Any) -> None:
    """A batch that comes twice, a letter that was published twice, a record that was refused
    twice."""
    async with world(database) as made, made.client(admin=True) as admin:
        batch = [letter(), letter(b"other", offset=1, at=1)]
        await made.api.letters.keep(batch)
        await made.api.letters.keep(batch)
        await made.api.letters.keep([letter(at=2)])  # the letter again
        assert [one["times"] for one in await listed(admin)] == [1, 1]
        await made.api.letters.keep([letter(offset=9, at=3)])  # the record again
        found = {one["value"]["text"]: one for one in await listed(admin)}
        assert (found["not json"]["times"], found["not json"]["offset"]) == (2, 9)
        await made.api.letters.measure()
        assert made.api.count("orderonce_api_dead_letters") == 2


POISON = [
    (b"\x00\xff\xfe", None, [("order_id", b"\xff"), ("a\x00b", b"\x00")]),
    (b"", b"", []),
    ("‮evil\x1b[31m".encode(), b"\xff\x00", [("x", b"")]),
    (b"{" * 300_000, b"k" * 5_000, [(f"h{n}", b"v" * 2_000) for n in range(100)]),
    (b"\xf0\x9f\x92\xa9" * 400_000, b"paper-1", [("client", b"\x00"), ("order_id", b"nonsense")]),
]


async def test_poison_is_shown_safely(database: Any) -> None:
    """Binary keys and values, control characters, a mebibyte and more: the listing stays small and
    printable, and nothing of it is lost."""
    async with world(database) as made, made.client(admin=True) as admin:
        poison = [
            letter(value, offset=n, at=n, key=key, headers=headers)
            for n, (value, key, headers) in enumerate(POISON)
        ]
        await made.api.letters.keep(poison)
        reply = await admin.get(PATH)
        assert reply.status_code == 200
        assert len(reply.content) < 10_000
        assert "\x1b" not in reply.text
        found = {one["offset"]: one for one in reply.json()["letters"]}
        assert [found[n]["value"]["bytes"] for n in range(5)] == [len(v) for v, _, _ in POISON]
        assert base64.b64decode(found[0]["value"]["text"]) == POISON[0][0]
        assert found[2]["value"]["encoding"] == "base64"
        assert found[3]["value"]["encoding"] == "utf-8"
        assert found[4]["value"] == {
            "encoding": "utf-8", "text": "\U0001f4a9" * 50, "bytes": 1_600_000, "whole": False,
        }  # fmt: skip
        for one in found.values():
            whole = (await admin.get(f"{PATH}/{one['letter_id']}")).json()
            assert len(str(whole)) < 200_000
            value, key, headers = POISON[one["offset"]]
            assert (whole["key"] is None) == (key is None)
            assert whole["header_count"] == len(headers)
            row = await made.owner.fetchrow(
                "SELECT * FROM api.dead_letter WHERE letter_id = $1", one["letter_id"]
            )
            assert row is not None
            assert (row["value"], row["record_key"]) == (value, key)


async def test_pages_of_letters(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter(b"%d" % n, offset=n, at=n) for n in range(7)])
        seen: list[str] = []
        asked = {"limit": "3"}
        while True:
            body = (await admin.get(PATH, params=asked)).json()
            seen += [one["letter_id"] for one in body["letters"]]
            if body["next_cursor"] is None:
                break
            asked["cursor"] = body["next_cursor"]
        assert len(seen) == len(set(seen)) == 7
        for name, value in (("limit", "0"), ("limit", "x"), ("cursor", "x"), ("state", "dead")):
            reply = await admin.get(PATH, params={name: value})
            assert (reply.status_code, problem(reply)) == (400, "request-invalid")
            assert reply.json()["errors"][0]["pointer"] == f"/{name}"


async def replay(admin: httpx.AsyncClient, letter_id: str) -> httpx.Response:
    return await admin.post(f"{PATH}/{letter_id}/replay")


@pytest.mark.parametrize("key", [b"paper-1", b"\xff\x00", b"", None])
async def test_a_replay_writes_the_original_record_once(database: Any, key: bytes | None) -> None:
    """Key, bytes and headers as they were, ours taken off; a second call writes nothing."""
    headers: Headers = [("schema", b"place.v1"), ("x", b"\xff\x00"), ("x", b"2"), ("", b"")]
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter(b"\x00 raw \xff", key=key, headers=headers)])
        (one,) = await listed(admin)
        for _ in range(2):
            reply = await replay(admin, one["letter_id"])
            assert (reply.status_code, reply.json()["state"]) == (200, "replayed")
        (record,) = made.api.published.records
        assert (record.topic, record.key, record.value) == (COMMANDS, key, b"\x00 raw \xff")
        assert record.headers == headers
        assert await listed(admin) == []
        (kept,) = await listed(admin, state="all")
        assert (kept["state"], kept["replays"]) == ("replayed", 1)
        assert kept["changed_by"] is not None


async def test_replays_at_once_write_one_record(database: Any) -> None:
    async with world(database, apis=2) as made:
        await made.api.letters.keep([letter()])
        async with made.client(admin=True) as one, made.client(admin=True, api=1) as two:
            letter_id = (await listed(one))[0]["letter_id"]
            replies = await asyncio.gather(*(replay(c, letter_id) for c in (one, two) * 8))
        assert {reply.status_code for reply in replies} == {200}
        assert sum(len(api.published.records) for api in made.apis) == 1


async def test_a_replay_that_nobody_finished_is_taken_over(database: Any) -> None:
    """Its process died between the produce and the mark: after a while it may be written again."""
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter()])
        letter_id = (await listed(admin))[0]["letter_id"]
        await made.owner.execute(
            "UPDATE api.dead_letter SET state = 'replaying', changed_at = clock_timestamp()"
        )
        assert (await replay(admin, letter_id)).json()["state"] == "replaying"
        assert not made.api.published.records
        await made.owner.execute("UPDATE api.dead_letter SET changed_at = now() - interval '31 s'")
        assert (await replay(admin, letter_id)).json()["state"] == "replayed"
        assert len(made.api.published.records) == 1


async def test_brokers_that_are_away_leave_the_letter_waiting(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter()])
        letter_id = (await listed(admin))[0]["letter_id"]
        made.api.published.takes = False
        reply = await replay(admin, letter_id)
        assert (reply.status_code, problem(reply)) == (503, "unavailable")
        made.api.published.takes = True
        assert (await replay(admin, letter_id)).json()["state"] == "replayed"


async def test_a_record_that_is_refused_again_waits_again(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter()])
        letter_id = (await listed(admin))[0]["letter_id"]
        await replay(admin, letter_id)
        await made.api.letters.keep([letter(offset=8, at=5)])
        (again,) = await listed(admin)
        assert (again["letter_id"], again["state"], again["times"]) == (letter_id, "waiting", 2)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param({"offset": 9}, id="the commands went on"),
        pytest.param({"offset": 2, "seen": "2099-01-01T00:00:00Z"}, id="both topics are new"),
    ],
)
async def test_a_record_refused_again_waits_again_when_the_letters_topic_is_new(
    database: Any, again: dict[str, Any]
) -> None:
    """Made anew, orders.dlq counts from 0 again: its offsets say nothing about what is older.

    Guard: a lower offset is judged by where and when the record was refused.
    """
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter(offset=8, at=5)])
        letter_id = (await listed(admin))[0]["letter_id"]
        await replay(admin, letter_id)
        await made.api.letters.keep([letter(at=0, **again)])
        (one,) = await listed(admin)
        assert (one["letter_id"], one["state"], one["times"]) == (letter_id, "waiting", 2)


async def test_a_topic_that_is_read_again_brings_no_letter_back(database: Any) -> None:
    """From its start, one by one: refused twice, replayed since, and refused no third time."""
    async with world(database) as made, made.client(admin=True) as admin:
        both = [letter(offset=0, at=0), letter(offset=8, at=5)]
        for one in both:
            await made.api.letters.keep([one])
        await replay(admin, (await listed(admin))[0]["letter_id"])
        for one in both:
            await made.api.letters.keep([one])
        assert await listed(admin) == []
        (kept,) = await listed(admin, state="all")
        assert (kept["state"], kept["times"]) == ("replayed", 2)


async def test_only_topics_of_ours_are_written_to(database: Any) -> None:
    """Where a letter says that it comes from, a stranger may have written."""
    async with world(database) as made, made.client(admin=True) as admin:
        stranger = Arrived(DLQ, 0, 2, b"k", b"v", [("dlq_topic", COMMANDS.encode())])
        await made.api.letters.keep([letter(topic="payroll"), letter(topic=FILLS, at=1), stranger])
        found = {one["topic"]: one for one in await listed(admin)}
        assert {topic: one["replayable"] for topic, one in found.items()} == {
            "payroll": False, FILLS: True, DLQ: False,
        }  # fmt: skip
        for topic in ("payroll", DLQ):
            reply = await replay(admin, found[topic]["letter_id"])
            assert (reply.status_code, problem(reply)) == (422, "letter-not-replayable")
        assert not made.api.published.records


async def test_a_discarded_letter_stays_visible(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        await made.api.letters.keep([letter()])
        letter_id = (await listed(admin))[0]["letter_id"]
        for reason in ("a test", "again"):
            reply = await admin.post(f"{PATH}/{letter_id}/discard", json={"reason": reason})
            assert (reply.json()["state"], reply.json()["reason"]) == ("discarded", "a test")
        assert await listed(admin) == []
        (kept,) = await listed(admin, state="discarded")
        assert kept["letter_id"] == letter_id
        await made.api.letters.keep([letter(offset=4, at=4)])  # it comes again
        assert await listed(admin) == []
        assert (await replay(admin, letter_id)).json()["state"] == "replayed"  # on second thought


async def parked(made: World, bot: httpx.AsyncClient, order_id: str) -> bool:
    shown = (await bot.get(f"/v1/orders/{order_id}")).json()
    (listed_,) = (await bot.get("/v1/orders")).json()["orders"]
    assert listed_["parked"] == shown["parked"]
    return bool(shown["parked"])


async def test_an_order_whose_record_lies_there_is_parked(database: Any) -> None:
    async with world(database) as made, made.client() as bot, made.client(admin=True) as admin:
        order = (await place(bot, fresh_key())).json()
        order_id = order["order_id"]
        assert not await parked(made, bot, order_id)
        named: Headers = [("order_id", order_id.encode()), ("client", b"somebody-else")]
        await made.api.letters.keep([letter(headers=named)])
        assert not await parked(made, bot, order_id)
        named = [("order_id", order_id.encode()), ("client", b"bot")]
        await made.api.letters.keep([letter(b"two", offset=1, at=1, headers=named)])
        assert await parked(made, bot, order_id)
        ours = next(one for one in await listed(admin) if one["client"] == "bot")
        assert ours["order_id"] == order_id
        await admin.post(f"{PATH}/{ours['letter_id']}/discard")
        assert await parked(made, bot, order_id)
        await replay(admin, ours["letter_id"])
        assert not await parked(made, bot, order_id)
        await made.api.letters.keep([letter(b"two", offset=9, at=9, headers=named)])
        assert await parked(made, bot, order_id)
        shown = (await bot.get(f"/v1/orders/{order_id}")).json()
        claimed = snapshot(shown, 1, status="accepted")
        await made.api.follower.events([claimed.encode()])
        assert not await parked(made, bot, order_id)  # the executor has it, whatever lies there


def refused(api: Api, nth: int, *, at: int) -> Arrived:
    """The letter about the `nth` record that this process wrote."""
    record = api.published.records[nth]
    assert isinstance(record.key, str)
    return letter(record.value, offset=at, at=at, key=record.key.encode(), headers=record.headers)


LONG_AGO = """UPDATE api.dead_letter
    SET changed_at = changed_at - $1::interval, last_seen = last_seen - $1::interval"""


async def test_what_was_dealt_with_long_ago_is_forgotten(database: Any) -> None:
    """Replayed and discarded letters, after 90 days in which they did not come again. What waits
    stays, and so does the discarded letter that keeps an order's record from going out again."""
    async with world(database) as made, made.client() as bot, made.client(admin=True) as admin:
        order_id = (await place(bot, fresh_key())).json()["order_id"]
        await made.api.relay.flush()
        keep = made.api.letters.keep
        names = (b"replayed", b"discarded", b"waiting", b"came again")
        await keep([letter(name, offset=n, at=n) for n, name in enumerate(names)])
        await keep([refused(made.api, 0, at=8)])
        ids = {one["value"]["text"]: one["letter_id"] for one in await listed(admin)}
        (of_order,) = [name for text, name in ids.items() if order_id in text]
        await replay(admin, ids["replayed"])
        for letter_id in (ids["discarded"], ids["came again"], of_order):
            await admin.post(f"{PATH}/{letter_id}/discard")
        await made.owner.execute(LONG_AGO, timedelta(days=89))
        await made.api.letters.forget()
        assert len(await listed(admin, state="all")) == 5
        await made.owner.execute(LONG_AGO, timedelta(days=2))
        await keep([letter(b"came again", offset=20, at=20)])
        await made.api.letters.forget()
        left = {one["letter_id"] for one in await listed(admin, state="all")}
        assert left == {ids["waiting"], ids["came again"], of_order}
        await made.owner.execute("DELETE FROM api.outbox")
        await made.api.letters.forget()
        assert of_order not in {one["letter_id"] for one in await listed(admin, state="all")}


async def test_only_admins(database: Any) -> None:
    async with world(database) as made:
        key = await made.new_key(scopes=["orders:read", "orders:write"])
        async with made.client(key, admin=True) as bot:
            for method, path in (
                ("GET", PATH), ("GET", f"{PATH}/{uuid4()}"), ("POST", f"{PATH}/{uuid4()}/replay"),
                ("POST", f"{PATH}/{uuid4()}/discard"),
            ):  # fmt: skip
                assert (await bot.request(method, path)).status_code == 403
        async with made.client(admin=True) as admin:
            for name in (str(uuid4()), "x", "%00"):
                assert (await replay(admin, name)).status_code == 404
