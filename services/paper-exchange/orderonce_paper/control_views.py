"""PURE: how the control door shows the book and the request log. Amounts are plain strings."""

from typing import Any

from orderonce_paper.model import Account, Market, Order, Traded

Json = dict[str, Any]


def request_row(record: Json) -> Json:
    """A request as journalled, its events summed up: the order, and how many trades it made."""
    params = record["params"]
    return {
        "seq": record["seq"],
        "time": record["time"],
        "received_at": record["received_at"],
        "method": record["method"],
        "path": record["path"],
        "door": "ws" if "ws" in record else "rest",
        "ws_method": record.get("ws"),
        "params": params,
        "sent_in": record.get("sent_in"),  # journals from before this field lack it
        "account": record["account"],
        "status": record["status"],
        "code": record["code"],
        "executed": record["executed"],
        "symbol": params.get("symbol"),
        "client_order_id": params.get("newClientOrderId") or params.get("origClientOrderId"),
        "order_id": record["order_id"],
        "trades": sum(1 for event in record["events"] if event["event"] == "traded"),
        "faults": record["faults"],
    }


def order_row(order: Order) -> Json:
    made = order.made
    return {
        "sequence": order.sequence,
        "account": made.account,
        "symbol": made.symbol,
        "order_id": made.order_id,
        "client_order_id": made.client_id,
        "side": made.side,
        "type": made.kind,
        "time_in_force": made.time_in_force,
        "price": format(made.price, "f"),
        "quantity": format(made.quantity, "f"),
        "quote_quantity": format(made.quote_quantity, "f"),
        "executed": format(order.executed, "f"),
        "quote_executed": format(order.quote_executed, "f"),
        "status": order.status,
        "created_at": made.time,
        "updated_at": order.update_time,
        "trade_ids": [trade.trade_id for trade in order.trades],
    }


def trade_rows(market: Market, trade: Traded) -> list[Json]:
    """One row per account's leg; a self-trade has two with the same trade id."""
    return [
        {
            "symbol": trade.symbol,
            "trade_id": trade.trade_id,
            "account": leg.account,
            "order_id": leg.order_id,
            "client_order_id": market.orders[leg.order_id - 1].made.client_id,
            "side": side,
            "is_maker": is_maker,
            "price": format(trade.price, "f"),
            "quantity": format(trade.quantity, "f"),
            "quote": format(trade.quote, "f"),
            "commission": format(leg.commission, "f"),
            "commission_asset": leg.commission_asset,
            "time": trade.time,
            "busted": trade.trade_id in market.busted,
        }
        for leg, side, is_maker in trade.legs()
    ]


def balances_row(account: Account) -> Json:
    return {
        asset: {"free": format(balance.free, "f"), "locked": format(balance.locked, "f")}
        for asset, balance in account.balances.items()
    }
