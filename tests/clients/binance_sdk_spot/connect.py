from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketAPI
from binance_sdk_spot.spot import ConfigurationWebSocketStreams, Spot


def connect(rest, ws, **keys):
    """`rest` is http://127.0.0.1:8090, `ws` ws://127.0.0.1:8090.

    `keys` are api_key and api_secret, or api_key and private_key: the PEM text of an Ed25519 key,
    which alone may call session_logon.
    """
    return Spot(
        config_rest_api=ConfigurationRestAPI(**keys, base_path=rest, timeout=10_000),
        config_ws_api=ConfigurationWebSocketAPI(**keys, stream_url=f"{ws}/ws-api/v3"),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"{ws}/stream"),
    )
