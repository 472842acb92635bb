"""What Kafka's own tools are called with."""

import uuid

from orderonce_cli.stack import kafka


def test_a_cluster_id_never_looks_like_an_option() -> None:
    dash = uuid.UUID(int=0b111110 << 122)  # base64's 62nd letter in front, as one draw in 64 has it
    plain = uuid.UUID(int=0)
    draws = [dash, dash, plain]
    assert kafka._cluster_id(lambda: draws.pop(0)) == "A" * 22
    assert draws == []
