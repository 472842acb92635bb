from nautilus_trader import __version__
from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import InstrumentProviderConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode

# 1.221 reads its user-data stream by listen key: start the exchange with --listen-keys. 1.231 logs
# on to the WebSocket API, which takes an Ed25519 key.
BY_LISTEN_KEY = tuple(map(int, __version__.split(".")[:2])) <= (1, 221)


def connect(rest, ws, api_key, secret):
    """`rest` is http://127.0.0.1:8090, `ws` ws://127.0.0.1:8090, `secret` the PEM text of a key."""
    both = {
        "api_key": api_key,
        "api_secret": secret,
        "account_type": BinanceAccountType.SPOT,
        "base_url_http": rest,
        "instrument_provider": InstrumentProviderConfig(load_all=True),
    }
    user_data = ws if BY_LISTEN_KEY else f"{ws}/ws-api/v3"
    config = TradingNodeConfig(
        trader_id="PAPER-001",
        logging=LoggingConfig(log_level="WARNING"),
        # No instrument reaches the cache without a data client.
        data_clients={BINANCE: BinanceDataClientConfig(base_url_ws=ws, **both)},
        exec_clients={BINANCE: BinanceExecClientConfig(base_url_ws=user_data, **both)},
    )
    node = TradingNode(config=config)
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    return node
