"""How an answer leaves, or does not: the transport's half of the faults, the same at both doors."""

import orjson

from orderonce_paper.faults import ACCEPTING, REFUSING, Fault
from orderonce_paper.server import Door, Reply

SPEAKING = ACCEPTING | REFUSING
HTML = b"<html><head><title>%d</title></head><body><h1>%d</h1></body></html>\n"
HTML_TYPE = "text/html; charset=UTF-8"
FOREIGN_ORDER_ID = 4_294_967_291
UNAVAILABLE = "Service temporarily unavailable."


def send(door: Door, faults: list[Fault], reply: Reply) -> None:
    """Answer, or fail to, as the first fault that speaks about the answer says."""
    fault = next((f for f in faults if f.name in SPEAKING), None)
    if fault is None:
        door.reply(reply)
        return
    match fault.name:
        case "accept_then_timeout":
            door.hang(fault.own["seconds"])
        case "accept_then_reset":
            door.reset()
        case "half_body":
            door.half(reply)
        case "empty_body":
            door.reply(Reply(fault.own["status"], b"", reply.headers))
        case "foreign_body":
            door.reply(_foreign(reply))
        case "accept_late":
            pass  # this client was given up long ago
        case "html_200":
            door.reply(Reply(200, HTML % (200, 200), reply.headers, HTML_TYPE))
        case "accept_then_5xx" | "refuse_5xx":
            kind = fault.own["body"] if door.speaks_http else "json"  # no proxy is in between there
            door.reply(_gateway_error(fault, kind, reply))
        case _:
            door.reply(reply)


def _foreign(reply: Reply) -> Reply:
    """The answer to somebody else's order: all is well formed, and nothing is this client's."""
    payload = orjson.loads(reply.body)
    if isinstance(payload, dict):
        payload |= {"orderId": FOREIGN_ORDER_ID, "clientOrderId": "somebody-elses"}
    return Reply(reply.status, orjson.dumps(payload), reply.headers)


def _gateway_error(fault: Fault, kind: str, reply: Reply) -> Reply:
    status = fault.own["status"]
    if kind == "html":
        return Reply(status, HTML % (status, status), reply.headers, HTML_TYPE)
    if kind == "empty":
        return Reply(status, b"", reply.headers)
    message = TEXT_OF_CODE.get(fault.own["code"], UNAVAILABLE)
    body = orjson.dumps({"code": fault.own["code"], "msg": message})
    return Reply(status, body, reply.headers)


TEXT_OF_CODE = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1006: "An unexpected response was received from the message bus. Execution status unknown.",
    -1007: "Timeout waiting for response from backend server. "
    "Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
}
