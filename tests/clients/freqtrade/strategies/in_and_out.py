"""Enters every pair twice and leaves it at once: the least that makes freqtrade trade.

A closed trade locks its pair to the end of the candle, so the second round is in another minute.
When all is closed it does what a person does with Ctrl-C, but between two rounds of the bot's loop:
when it is interrupted in a transaction freqtrade complains of that while it ends.
"""

import signal
from typing import ClassVar

from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy

ROUNDS = 2


class InAndOut(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    startup_candle_count = 0
    process_only_new_candles = False
    minimal_roi: ClassVar = {"0": -1}  # any profit will do, a loss too
    stoploss = -0.99
    order_types: ClassVar = {
        "entry": "limit",
        "exit": "market",
        "stoploss": "market",
        "stoploss_on_exchange": False,  # the paper exchange has no stop orders
    }

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def bot_loop_start(self, **_):
        closed = Trade.get_trades_proxy(is_open=False)
        if len(closed) == ROUNDS * len(self.dp.current_whitelist()):
            signal.raise_signal(signal.SIGINT)

    def confirm_trade_entry(self, pair, *_, **__):
        return len(Trade.get_trades_proxy(pair=pair)) < ROUNDS

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
