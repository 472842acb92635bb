import ccxt.async_support
import ccxt.pro


def connect(rest, ws, api_key, secret, make=ccxt.async_support.binance):
    """`rest` is http://127.0.0.1:8090, `ws` ws://127.0.0.1:8090; streams need ccxt.pro.binance."""
    exchange = make(
        {
            "apiKey": api_key,
            "secret": secret,  # or the PEM text of an Ed25519 key
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False,
                "fetchMargins": False,
            },
        }
    )
    urls = exchange.urls["api"]
    urls["public"] = urls["private"] = f"{rest}/api/v3"
    if "ws" in urls:
        urls["ws"]["ws-api"]["spot"] = f"{ws}/ws-api/v3"
        urls["ws"]["spot"] = f"{ws}/ws"
    # ccxt finds spot's error codes by the real host's name; elsewhere it has to be told.
    exchange.exceptions["exact"].update(exchange.exceptions["spot"]["exact"])
    return exchange
