"""VERB: the life of API keys and accounts: mint, revoke, admit, halt, resume. Operators only.

A revocation and a halt take their table's lock in EXCLUSIVE mode first (R4): when they return, no
order that asks for the old state can leave any more. The process dies before the commit: nothing
happened; after it: it stands.
"""

from dataclasses import dataclass
from typing import Any

from orderonce_shared.contracts.http import AdmitAccountBody, CreateKeyBody
from orderonce_shared.runtime.bearer import PEPPER_ID, Bearer, mac, mint_key
from orderonce_shared.runtime.logs import Logger
from orderonce_shared.venues.evidence import EVIDENCE

from orderonce_api import errors
from orderonce_api.store import Store


@dataclass(frozen=True, slots=True)
class Keeper:
    store: Store
    pepper: bytes
    bearer: Bearer
    log: Logger

    async def create(self, body: CreateKeyBody, by: str) -> tuple[Any, str]:
        """(the key's row, the key itself). The text exists here and in the answer, nowhere else."""
        row, text = await create_key(self.store, self.pepper, body)
        self.log.info("key-created", audit=True, kid=row["kid"], client=row["client"], by=by)
        return row, text

    async def revoke(self, kid: str, reason: str | None, by: str) -> Any:
        """The key's row. Raises NotFound or LastAdminKey."""
        row, allowed = await self.store.revoke_key(kid, reason)
        if row is None:
            raise errors.NotFound("no such key")
        if not allowed:
            raise errors.LastAdminKey
        self.bearer.forget(kid)
        self.log.info("key-revoked", audit=True, kid=kid, client=row["client"], by=by)
        return row

    async def admit(self, body: AdmitAccountBody, by: str) -> Any:
        """R11: a venue without a proof path is not admitted, nor one real account twice."""
        evidence = EVIDENCE.get(body.venue)
        if evidence is None or not evidence.has_proof_path:
            known = ", ".join(sorted(name for name, row in EVIDENCE.items() if row.has_proof_path))
            raise errors.VenueUnproven(
                f"no proof path is known for the venue {body.venue}: an order that got lost there"
                f" could never be told from one that lives; there is one for: {known}"
            )
        row = await self.store.admit_account(body.account, body.venue, body.venue_uid)
        if row is None:
            raise errors.AccountExists(
                "an account of this name, or of this user at this venue, was admitted before"
            )
        self.log.info("account-admitted", audit=True, account=body.account, by=by)
        return row

    async def halt(self, account: str, reason: str | None, by: str) -> tuple[Any, list[str]]:
        """(the account's row, orders that may be on the wire). After this nothing new leaves."""
        row = await self.store.halt_account(account, reason)
        if row is None:
            raise errors.NotFound("no such account")
        self.log.warning("account-halted", audit=True, account=account, reason=reason, by=by)
        return row, await self.store.on_the_wire(account)

    async def resume(self, account: str, by: str) -> Any:
        row = await self.store.resume_account(account)
        if row is None:
            raise errors.NotFound("no such account")
        self.log.warning("account-resumed", audit=True, account=account, by=by)
        return row


async def create_key(store: Store, pepper: bytes, body: CreateKeyBody) -> tuple[Any, str]:
    minted = mint_key()
    row = await store.create_key(
        minted.kid,
        body.client,
        body.name,
        mac(pepper, minted.kid, minted.secret),
        PEPPER_ID,
        sorted(set(body.scopes)),
        sorted(set(body.accounts)),
        body.max_quantity,
        body.max_notional,
        body.orders_per_second,
        body.expires_at,
    )
    return row, minted.text
