from binance import AsyncClient, BinanceSocketManager, Client
from binance.base_client import BaseClient
from binance.ws.streams import BinanceSocketManager as Streams


def point_at(rest, ws):
    """`rest` is http://127.0.0.1:8090, `ws` ws://127.0.0.1:8090. Before any client is made."""
    BaseClient.API_URL = f"{rest}/api"
    BaseClient.MARGIN_API_URL = f"{rest}/sapi"
    BaseClient.WS_API_URL = f"{ws}/ws-api/v3"
    Streams.STREAM_URL = f"{ws}/"


def connect(rest, ws, api_key, secret):
    point_at(rest, ws)
    return Client(api_key, secret)


async def connect_async(rest, ws, api_key, secret):
    """The asynchronous client, and the manager whose user_socket() is the user-data stream."""
    point_at(rest, ws)
    client = await AsyncClient.create(api_key, secret)
    return client, BinanceSocketManager(client)
