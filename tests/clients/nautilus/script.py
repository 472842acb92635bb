"""NautilusTrader, live: an order that fills, one that rests and is cancelled, and their events."""

import asyncio

from connect import BY_LISTEN_KEY, __version__, connect
from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.trading.strategy import Strategy

LIMIT_S = 60


class FillAndCancel(Strategy):
    def __init__(self):
        super().__init__(StrategyConfig())
        self.told = []
        self.balances = []
        self.ended = asyncio.Event()

    def on_start(self):
        btc = self.cache.instrument(InstrumentId.from_str("BTCUSDT.BINANCE"))
        quantity = btc.make_qty(0.01)
        self.submit_order(self.order_factory.market(btc.id, OrderSide.BUY, quantity))
        price = btc.make_price(50000)
        self.resting = self.order_factory.limit(btc.id, OrderSide.BUY, quantity, price)
        self.submit_order(self.resting)

    def on_order_accepted(self, event):
        if event.client_order_id == self.resting.client_order_id:
            self.cancel_order(self.resting)

    def on_order_event(self, event):
        row = {"event": type(event).__name__, "id": str(event.client_order_id)}
        if row["event"] == "OrderFilled":
            row |= {"quantity": str(event.last_qty), "price": str(event.last_px)}
            row |= {"fee": str(event.commission)}
        self.told.append(row)
        names = [row["event"] for row in self.told]
        if "OrderFilled" in names and "OrderCanceled" in names:
            self.ended.set()


def play(world):
    if BY_LISTEN_KEY:
        key = (world["trade"]["api_key"], world["trade"]["secret"])
    else:
        key = (world["ed25519"]["api_key"], world["ed25519"]["private_key"])
    node = connect(world["rest"], world["ws"], *key)
    strategy = FillAndCancel()
    node.trader.add_strategy(strategy)
    node.build()
    loop = node.get_event_loop()
    try:
        timely = loop.run_until_complete(trade(node, strategy))
        account = node.portfolio.account(Venue("BINANCE"))
        held = {str(coin): str(amount) for coin, amount in account.balances_free().items()}
        open_orders = [str(order.client_order_id) for order in node.cache.orders_open()]
    finally:
        node.dispose()
    return {
        "version": __version__,
        "by_listen_key": BY_LISTEN_KEY,
        "timely": timely,
        "told": strategy.told,
        "resting": str(strategy.resting.client_order_id),
        "free": held,
        "open": open_orders,
    }


async def trade(node, strategy):
    """Run the node until the strategy has seen both ends, or too long."""
    running = asyncio.create_task(node.run_async())
    try:
        async with asyncio.timeout(LIMIT_S):
            await strategy.ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        await node.stop_async()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
