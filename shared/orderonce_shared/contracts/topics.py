"""Topic names, partitions and record headers. Partitions are fixed when a topic is made: the key
(account) decides order.
"""

COMMANDS = "orders.commands"
EVENTS = "orders.events"
FILLS = "orders.fills"
DLQ = "orders.dlq"

PARTITIONS: dict[str, int] = {COMMANDS: 12, EVENTS: 12, FILLS: 12, DLQ: 1}


def prefixed(prefix: str, topic: str) -> str:
    """The topic's name on a cluster that several installations share: `prefix` is the setting
    TOPIC_PREFIX.
    """
    return prefix + topic


# Every command carries these, in UTF-8, so that even an undecodable record can be traced to its
# order.
COMMAND_HEADERS = (
    "schema",
    "order_id",
    "account",
    "venue",
    "client",
    "key",
    "key_id",
    "accept_seq",
    "seq",
    "deadline",
    "timeline",
    "payload_hash",
    "traceparent",
)

Headers = list[tuple[str, bytes]]


def header(
    headers: list[tuple[str, bytes]] | tuple[tuple[str, bytes], ...], name: str
) -> str | None:
    """The first header of that name as text; None when absent or not UTF-8."""
    for key, value in headers:
        if key == name:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None
