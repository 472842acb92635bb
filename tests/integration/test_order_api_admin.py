"""The admin port: keys, accounts, halts; and the lock that a halt takes."""

import asyncio
from typing import Any

import asyncpg
from orderonce_shared.runtime.bearer import split_key

from tests.unit.order_api.world import World, place, problem, world


def key_body(**changes: Any) -> dict[str, Any]:
    return {"client": "new", "scopes": ["orders:read"], "accounts": ["paper-1"], **changes}


async def test_a_key_is_shown_once(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        made_key = await admin.post(
            "/v1/keys", json=key_body(max_notional="1000.50", orders_per_second=5, name="grid")
        )
        assert made_key.status_code == 201
        assert made_key.headers["cache-control"] == "no-store"
        body = made_key.json()
        split = split_key(body["key"])
        assert split is not None
        assert split[0] == body["kid"]
        listed = await admin.get("/v1/keys")
        assert split[1] not in listed.text
        assert {key["client"] for key in listed.json()["keys"]} == {"bot", "new"}
        stored = await made.owner.fetchrow(
            "SELECT * FROM control.api_key WHERE kid = $1", body["kid"]
        )
        assert stored is not None
        assert split[1] not in str(dict(stored))
        async with made.client(body["key"]) as bot:
            who = (await bot.get("/v1/whoami")).json()
            assert who == {
                "client": "new",
                "kid": body["kid"],
                "scopes": ["orders:read"],
                "accounts": ["paper-1"],
                "max_quantity": None,
                "max_notional": "1000.50",
                "orders_per_second": 5,
                "expires_at": None,
            }
            assert (await place(bot)).status_code == 403
            assert (await bot.get("/v1/orders")).status_code == 200


async def test_only_admin_keys(database: Any) -> None:
    async with world(database) as made:
        async with made.client(await made.new_key(scopes=["orders:write"]), admin=True) as bot:
            for method, path in (
                ("GET", "/v1/keys"),
                ("POST", "/v1/keys"),
                ("POST", "/v1/keys/AAAAAAAAAAAA/revoke"),
                ("GET", "/v1/accounts"),
                ("POST", "/v1/accounts"),
                ("POST", "/v1/accounts/paper-1/halt"),
                ("POST", "/v1/accounts/paper-1/resume"),
            ):
                assert problem(await bot.request(method, path)) == "not-permitted", path
        async with made.client("nonsense", admin=True) as nobody:
            assert problem(await nobody.get("/v1/keys")) == "credentials-invalid"
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await nobody.get(path)).status_code == 200


async def test_revoke(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        text = await made.new_key("other")
        split = split_key(text)
        assert split is not None
        async with made.client(text) as bot:
            assert (await place(bot)).status_code == 202
            revoked = await admin.post(f"/v1/keys/{split[0]}/revoke", json={"reason": "leaked"})
            assert revoked.json()["status"] == "revoked"
            assert revoked.json()["revoked_reason"] == "leaked"
            assert (await place(bot)).status_code == 401
        again = await admin.post(f"/v1/keys/{split[0]}/revoke")
        assert again.json() == revoked.json()
        assert problem(await admin.post("/v1/keys/AAAAAAAAAAAA/revoke")) == "not-found"


async def test_the_last_admin_key_stays(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        split = split_key(made.key)
        assert split is not None
        refused = await admin.post(f"/v1/keys/{split[0]}/revoke")
        assert (refused.status_code, problem(refused)) == (409, "last-admin-key")
        await made.new_key("second")
        assert (await admin.post(f"/v1/keys/{split[0]}/revoke")).status_code == 200


async def test_two_revocations_cannot_take_the_last_two_admin_keys(database: Any) -> None:
    """Guard: the count is taken under the table's lock."""
    async with world(database) as made:
        for _ in range(5):
            await made.new_key("second")
            alive = await made.owner.fetch(
                "SELECT kid FROM control.api_key WHERE status = 'active'"
            )
            assert len(alive) == 2
            found = await asyncio.gather(
                *(made.api.store.revoke_key(row["kid"], None) for row in alive)
            )
            assert sorted(allowed for _, allowed in found) == [False, True]


async def test_admit(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        body = {"account": "paper-3", "venue": "paper", "venue_uid": "1003"}
        admitted = await admin.post("/v1/accounts", json=body)
        assert admitted.status_code == 201
        assert {**admitted.json(), **body} == admitted.json()
        for same in (body, {**body, "account": "paper-4"}, {**body, "venue_uid": "1004"}):
            refused = await admin.post("/v1/accounts", json=same)
            assert (refused.status_code, problem(refused)) == (409, "account-exists")
        refused = await admin.post("/v1/accounts", json={**body, "venue": "mtgox"})
        assert (refused.status_code, problem(refused)) == (422, "venue-unproven")
        listed = (await admin.get("/v1/accounts")).json()["accounts"]
        assert [account["account"] for account in listed] == ["paper-1", "paper-2", "paper-3"]


async def test_halt_and_resume(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin, made.client() as bot:
        wire = (await place(bot)).json()["order_id"]
        await place(bot)
        await made.owner.execute(
            "UPDATE api.orders SET status = 'sending' WHERE order_id = $1::uuid", wire
        )
        halted = await admin.post("/v1/accounts/paper-1/halt", json={"reason": "drill"})
        assert halted.status_code == 200
        assert halted.json()["halted"] is True
        assert halted.json()["on_the_wire"] == [wire]
        assert (await place(bot)).json()["code"] == "account-halted"
        assert (await place(bot, account="paper-2")).status_code == 202
        again = await admin.post("/v1/accounts/paper-1/halt", json={"reason": "other"})
        assert again.json()["halt_reason"] == "drill"
        assert again.json()["halted_at"] == halted.json()["halted_at"]
        assert (await bot.get("/v1/accounts")).json()["accounts"][0]["halted"] is True
        resumed = await admin.post("/v1/accounts/paper-1/resume")
        assert resumed.json()["halted"] is False
        assert (await place(bot)).status_code == 202
        assert problem(await admin.post("/v1/accounts/nobody/halt")) == "not-found"
        assert problem(await admin.post("/v1/accounts/nobody/resume")) == "not-found"


async def reply_waits_for(made: World, path: str, row_lock: str, url: str) -> tuple[bool, bool]:
    """(whether the reply waits while a CAS holds its shared lock, whether a later CAS waits for
    the reply)
    """
    first, later = await asyncpg.connect(url), await asyncpg.connect(url)
    async with made.client(admin=True) as admin:
        cas = first.transaction()
        await cas.start()
        await first.execute(row_lock)
        reply = asyncio.create_task(admin.post(path))
        await asyncio.sleep(0.2)
        waits = not reply.done()
        queued = asyncio.create_task(later.execute(row_lock))
        await asyncio.sleep(0.2)
        holds_up = not queued.done()
        await cas.commit()
        assert (await reply).status_code == 200
        await queued
    await first.close()
    await later.close()
    return waits, holds_up


async def test_a_halt_waits_for_a_cas_under_way_and_holds_up_the_next(database: Any) -> None:
    """Guard: LOCK TABLE .. IN EXCLUSIVE MODE before the UPDATE. Later CASes queue behind it: no
    starvation.
    """
    async with world(database) as made:
        lock = "SELECT FROM control.account WHERE account = 'paper-2' FOR SHARE"
        found = await reply_waits_for(
            made, "/v1/accounts/paper-1/halt", lock, database.executor_url
        )
        assert found == (True, True)


async def test_a_revocation_waits_for_a_cas_under_way(database: Any) -> None:
    async with world(database) as made:
        split = split_key(await made.new_key("other"))
        assert split is not None
        lock = "SELECT FROM control.api_key FOR SHARE"
        path = f"/v1/keys/{split[0]}/revoke"
        assert await reply_waits_for(made, path, lock, database.executor_url) == (True, True)


async def test_a_bad_key_request_is_explained(database: Any) -> None:
    async with world(database) as made, made.client(admin=True) as admin:
        for wrong, pointer in (
            ({"scopes": ["withdraw"]}, "/scopes/0"),
            ({"scopes": []}, "/scopes"),
            ({"client": "UPPER"}, "/client"),
            ({"max_notional": 5}, "/max_notional"),
            ({"orders_per_second": "5"}, "/orders_per_second"),
            ({"expires_at": 1763805605}, "/expires_at"),
            ({"surprise": 1}, "/surprise"),
            ({"name": "a\nb"}, "/name"),
        ):
            reply = await admin.post("/v1/keys", json=key_body(**wrong))
            assert problem(reply) == "body-invalid"
            assert reply.json()["errors"][0]["pointer"] == pointer
