"""The HTTP door: parse, ask one question (or run one reconciliation), render. Bearer keys with
`ledger:read`."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.runtime.bearer import EVERY_ACCOUNT, Bearer, Caller, CredentialsInvalidError
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.ids import new_request_id
from starlette.exceptions import HTTPException

from orderonce_ledger import shapes
from orderonce_ledger.breaks import BreakStatus, BreakType
from orderonce_ledger.core import wallet
from orderonce_ledger.errors import (
    ALL,
    PROBLEM_MEDIA_TYPE,
    PROBLEMS,
    BodyTooLarge,
    CredentialsInvalid,
    Internal,
    MethodNotAllowed,
    NotFound,
    NotPermitted,
    Problem,
    RequestInvalid,
    Unavailable,
    asked_account,
)
from orderonce_ledger.reads import Accounts, Reads
from orderonce_ledger.schedule import Schedule
from orderonce_ledger.store import DATABASE_TROUBLE

SCOPE = "ledger:read"
PAGE_LIMIT = 200
BODY_LIMIT = 4 * 1024
VERSION = "1"

_JOURNAL = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

_BODY_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"account": {"type": "string"}},
}
RECONCILE_BODY = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": _BODY_SCHEMA}}}
}


class Door:
    """The routes. `closed`: why an account's books are not open yet."""

    def __init__(
        self,
        bearer: Bearer,
        reads: Reads,
        schedule: Schedule,
        closed: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.bearer, self.reads, self.schedule = bearer, reads, schedule
        self.closed, self.clock = closed, clock

    async def caller(self, request: Request) -> Caller:
        if len(request.headers.getlist("authorization")) > 1:
            raise CredentialsInvalid("one Authorization header, please")
        try:
            caller = await self.bearer.identify(request.headers.get("authorization"))
        except CredentialsInvalidError:
            raise CredentialsInvalid("send Authorization: Bearer and a living key") from None
        if not caller.may(SCOPE):
            raise NotPermitted(f"this key lacks the scope {SCOPE}")
        return caller

    async def accounts(self, caller: Caller) -> shapes.Accounts:
        rows = [row for row in await self.reads.accounts() if caller.sees(row["account"])]
        shown = [shapes.account_shown(row, self.closed) for row in rows]
        return shapes.Accounts(render_time(self.clock.now()), shown)

    async def balances(self, caller: Caller, account: str) -> shapes.Balances:
        _must_see(caller, account)
        last = await self.reads.last_booked(account)
        if last is None:
            raise NotFound("the books of this account are not open")
        rows = await self.reads.balances(account)
        now = self.clock.now()
        return shapes.Balances(
            as_of=render_time(now),
            source_age_seconds=shapes.age(now, last["recorded_at"]),
            account=account,
            last_journal=f"{last['shard']}-{last['seq']}" if last["seq"] else None,
            balances=shapes.held(rows, wallet(last["venue"], account)),
            ledger_accounts=[shapes.balance_shown(row) for row in rows],
        )

    async def fills(
        self,
        caller: Caller,
        account: str | None,
        order_id: str | None,
        cursor: str | None,
        limit: int,
    ) -> shapes.Fills:
        wanted = _wanted(caller, account)
        order = None if order_id is None else _uuid(order_id, "order_id")
        after = None if cursor is None else _place(cursor, RequestInvalid("not a cursor of ours"))
        rows = await self.reads.fills(wanted, order, after, limit)
        now = self.clock.now()
        newest = max((row["recorded_at"] for row in rows), default=None)
        shown = [shapes.fill_shown(row, row["recorded_at"], row["hash"]) for row in rows]
        following = shown[-1].journal if len(rows) == limit else None
        return shapes.Fills(render_time(now), shapes.age(now, newest), shown, following)

    async def journal(self, caller: Caller, journal_id: str) -> shapes.JournalShown:
        shard, seq = _place(journal_id, NotFound("a journal's id is shard-seq"))
        row = await self.reads.journal(shard, seq)
        if row is None or not caller.sees(row["account"]):
            raise NotFound(f"no journal {journal_id}")
        entries = await self.reads.entries(shard, seq)
        fill = await self.reads.fill(shard, seq)
        return shapes.JournalShown(
            as_of=render_time(self.clock.now()),
            journal=f"{shard}-{seq}",
            kind=row["kind"],
            account=row["account"],
            venue=row["venue"],
            source=row["source"],
            source_key=row["source_key"],
            payload_hash=row["payload_hash"],
            event_at=render_time(row["event_at"]),
            booked_at=render_time(row["recorded_at"]),
            prev_hash=row["prev_hash"],
            hash=row["hash"],
            entries=[shapes.entry_shown(entry) for entry in entries],
            fill=None if fill is None else shapes.fill_shown(fill, row["recorded_at"], row["hash"]),
        )

    async def proof(self, caller: Caller, account: str | None) -> shapes.Proof:
        wanted = _wanted(caller, account)
        rows, runs = await self.reads.proof(wanted), await self.reads.last_runs(wanted)
        return shapes.proof_answer(self.clock.now(), rows, runs)

    async def breaks(
        self,
        caller: Caller,
        account: str | None,
        status: BreakStatus | None,
        type_: BreakType | None,
        cursor: str | None,
        limit: int,
    ) -> shapes.Breaks:
        wanted = _wanted(caller, account)
        before = None if cursor is None else _uuid(cursor, "cursor")
        rows = await self.reads.breaks(wanted, status, type_, before, limit)
        events = await self.reads.break_events([row["break_id"] for row in rows])
        by_break: dict[UUID, list[dict[str, Any]]] = {}
        for event in events:
            by_break.setdefault(event["break_id"], []).append(event)
        runs = await self.reads.last_runs(wanted)
        now = self.clock.now()
        shown = [shapes.break_shown(row, by_break.get(row["break_id"], []), now) for row in rows]
        oldest = min((run["finished_at"] for run in runs), default=None)
        following = shown[-1].id if len(rows) == limit else None
        return shapes.Breaks(render_time(now), shapes.age(now, oldest), shown, following)

    async def reconcile(self, caller: Caller, account: str | None) -> shapes.Reconciliation:
        """A full run over the account, or over all that the key sees. It has ended when the answer
        comes."""
        admitted = await self.schedule.store.admitted()
        seen = [one for one in admitted if caller.sees(one.account)]
        chosen = [one for one in seen if account in (None, one.account)]
        if not chosen:
            raise NotFound("no such account")
        run_id = await self.schedule.now(chosen, caller.client)
        return await self._show(caller, run_id)

    async def reconciliation(self, caller: Caller, run_id: str) -> shapes.Reconciliation:
        if not _UUID.fullmatch(run_id):
            raise NotFound("no such reconciliation")
        return await self._show(caller, UUID(run_id))

    async def _show(self, caller: Caller, run_id: UUID) -> shapes.Reconciliation:
        runs = [row for row in await self.reads.run(run_id) if caller.sees(row["account"])]
        if not runs:
            raise NotFound("no such reconciliation")
        proof = [row for row in await self.reads.run_proof(run_id) if caller.sees(row["account"])]
        return shapes.reconciliation(str(run_id), self.clock.now(), runs, proof)


def make_app(
    bearer: Bearer, reads: Reads, schedule: Schedule, closed: Mapping[str, str], clock: Clock
) -> FastAPI:
    return _app(Door(bearer, reads, schedule, closed, clock))


def render_openapi() -> str:
    """The OpenAPI document as text that only changes when the routes do."""
    app = _app(None)
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": {"type": "string", "enum": [f"/errors/{problem.type}" for problem in ALL]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "request_id": {"type": "string"},
        },
    }
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _app(door: Door | None) -> FastAPI:
    app = FastAPI(
        title="orderonce ledger",
        version=VERSION,
        description="What happened to the money: books, statements, breaks, proof.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(_routes(door))
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(Exception, _on_anything)
    for trouble in DATABASE_TROUBLE:
        app.add_exception_handler(trouble, _on_trouble)
    return app


Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]
NAME = "^[a-z0-9][a-z0-9_.-]{0,62}$"
Account = Annotated[str | None, Query(pattern=NAME)]
AccountPath = Annotated[str, Path(pattern=NAME)]
OrderId = Annotated[str | None, Query(pattern=f"^{_UUID.pattern}$", description="a UUID")]
Cursor = Annotated[
    str | None, Query(pattern="^[0-9a-f-]{1,40}$", description="next_cursor of the page before")
]
Status = Annotated[BreakStatus | None, Query()]
Type = Annotated[BreakType | None, Query()]


def _routes(door: Door | None) -> APIRouter:
    """Without a door only the shapes of the routes count (for the OpenAPI document)."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)

    async def caller(request: Request) -> Caller:
        return await _the(door).caller(request)

    Who = Annotated[Caller, Depends(caller)]

    @router.get("/accounts", summary="Accounts and the state of their books")
    async def accounts(who: Who) -> shapes.Accounts:
        return await _the(door).accounts(who)

    @router.get("/accounts/{account}/balances", summary="Every ledger account of one account")
    async def balances(who: Who, account: AccountPath) -> shapes.Balances:
        return await _the(door).balances(who, account)

    @router.get("/fills", summary="Booked fills, account by account, newest first")
    async def fills(
        who: Who,
        account: Account = None,
        order_id: OrderId = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> shapes.Fills:
        return await _the(door).fills(who, account, order_id, cursor, limit)

    @router.get("/journals/{journal_id}", summary="One journal with its entries and its hash")
    async def journal(who: Who, journal_id: str) -> shapes.JournalShown:
        return await _the(door).journal(who, journal_id)

    @router.get("/proof", summary="The newest proof per account and asset")
    async def proof(who: Who, account: Account = None) -> shapes.Proof:
        return await _the(door).proof(who, account)

    @router.get("/breaks", summary="Breaks with their history, newest first")
    async def breaks(
        who: Who,
        account: Account = None,
        status: Status = None,
        type: Type = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> shapes.Breaks:
        return await _the(door).breaks(who, account, status, type, cursor, limit)

    @router.post("/reconciliations", summary="Reconcile now, in full", openapi_extra=RECONCILE_BODY)
    async def reconcile(who: Who, request: Request, response: Response) -> shapes.Reconciliation:
        answer = await _the(door).reconcile(who, asked_account(await _body(request)))
        response.headers["Location"] = f"/v1/reconciliations/{answer.id}"
        return answer

    @router.get("/reconciliations/{run_id}", summary="One reconciliation")
    async def reconciliation(who: Who, run_id: str) -> shapes.Reconciliation:
        return await _the(door).reconciliation(who, run_id)

    return router


def _the(door: Door | None) -> Door:
    assert door is not None, "these routes were made for their document only"
    return door


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge(f"at most {BODY_LIMIT} bytes")
    return body


def _must_see(caller: Caller, account: str) -> None:
    if not caller.sees(account):
        raise NotFound("no such account")


def _wanted(caller: Caller, account: str | None) -> Accounts:
    """The accounts that a list is about: the asked one, else all that the key sees."""
    if account is not None:
        _must_see(caller, account)
        return [account]
    return None if EVERY_ACCOUNT in caller.accounts else sorted(caller.accounts)


def _uuid(text: str, name: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise RequestInvalid(f"{name} is a lower-case UUID")
    return UUID(text)


def _place(text: str, problem: Problem) -> tuple[int, int]:
    found = _JOURNAL.fullmatch(text)
    if found is None:
        raise problem
    return int(found[1]), int(found[2])


def _answer(problem: Problem) -> JSONResponse:
    request_id = new_request_id()
    return JSONResponse(
        problem.document(request_id),
        problem.status,
        headers={**problem.headers, "X-Request-Id": request_id},
        media_type=PROBLEM_MEDIA_TYPE,
    )


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == MethodNotAllowed.status:
        return _answer(MethodNotAllowed("see the OpenAPI document"))
    if error.status_code == NotFound.status:
        return _answer(NotFound("no such route"))
    return _answer(RequestInvalid(str(error.detail)))


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"pointer": "/" + "/".join(map(str, item["loc"])), "message": item["msg"]}
        for item in error.errors()
    ]
    return _answer(RequestInvalid("see errors: a pointer and a message each", errors=errors))


async def _on_anything(_: Request, __: Exception) -> Response:
    return _answer(Internal("the request id finds it in the log"))


async def _on_trouble(_: Request, __: Exception) -> Response:
    return _answer(Unavailable("the ledger's database does not answer"))
