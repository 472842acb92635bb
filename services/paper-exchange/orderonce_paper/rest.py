"""The paths of the venue's REST protocol: what each weighs, whether it is signed, who answers."""

from orderonce_paper import lookups, market_data, trading
from orderonce_paper.venue import Route

ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/ping"): Route(market_data.ping),
    ("GET", "/api/v3/time"): Route(market_data.server_time),
    ("GET", "/api/v3/exchangeInfo"): Route(market_data.exchange_info, weight=20),
    ("GET", "/api/v3/depth"): Route(market_data.depth, weight=5),
    ("GET", "/api/v3/trades"): Route(market_data.trades, weight=25),
    ("GET", "/api/v3/klines"): Route(market_data.klines, weight=2),
    ("GET", "/api/v3/avgPrice"): Route(market_data.average_price, weight=2),
    ("GET", "/api/v3/ticker/24hr"): Route(market_data.day_ticker, weight=2),
    ("GET", "/api/v3/ticker/price"): Route(market_data.price, weight=2),
    ("GET", "/api/v3/ticker/bookTicker"): Route(market_data.book_ticker, weight=2),
    ("POST", "/api/v3/order"): Route(trading.place, signed=True, trade=True),
    ("POST", "/api/v3/order/test"): Route(trading.test, signed=True, trade=True),
    ("POST", "/api/v3/order/cancelReplace"): Route(trading.cancel_replace, signed=True, trade=True),
    ("DELETE", "/api/v3/order"): Route(trading.cancel, signed=True, trade=True),
    ("DELETE", "/api/v3/openOrders"): Route(trading.cancel_all, signed=True, trade=True),
    ("GET", "/api/v3/order"): Route(lookups.order, weight=4, signed=True),
    ("GET", "/api/v3/openOrders"): Route(lookups.open_orders, weight=6, signed=True),
    ("GET", "/api/v3/allOrders"): Route(lookups.all_orders, weight=20, signed=True),
    ("GET", "/api/v3/myTrades"): Route(lookups.my_trades, weight=20, signed=True),
    ("GET", "/api/v3/account"): Route(lookups.account, weight=20, signed=True),
    ("GET", "/api/v3/account/commission"): Route(lookups.commission, weight=20, signed=True),
    ("GET", "/api/v3/rateLimit/order"): Route(lookups.order_counts, weight=40, signed=True),
    ("GET", "/sapi/v1/asset/tradeFee"): Route(lookups.trade_fee, signed=True),
    ("GET", "/sapi/v1/capital/config/getall"): Route(lookups.empty_list, weight=10, signed=True),
    # Listed without a signature: some clients send only the key here, some nothing at all.
    ("GET", "/sapi/v1/margin/allPairs"): Route(lookups.empty_list),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(lookups.empty_list),
    ("GET", "/fapi/v1/exchangeInfo"): Route(market_data.no_symbols),
    ("GET", "/dapi/v1/exchangeInfo"): Route(market_data.no_symbols),
}
