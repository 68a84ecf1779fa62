"""The toolkit against itself: a test that trusts it needs it to be right."""

import pytest

import amqp


def test_every_method_survives_encoding_and_decoding():
    samples = {"o": 7, "h": 65535, "l": 2**32 - 1, "Q": 2**64 - 1, "b": True, "S": "grün", "L": b"\0\1", "T": {"k": 1}}
    for name, (_, layout) in amqp.METHODS.items():
        fields = {field: samples[kind] for kind, field in layout}
        assert amqp.decode_method(amqp.encode_method(name, **fields)).fields == fields


def test_bits_are_packed_from_the_lowest_in_one_octet_for_each_run():
    payload = amqp.encode_method("queue.declare", durable=True, nowait=True)
    assert payload == b"\0\x32\0\x0a" + b"\0\0" + b"\0" + bytes([0b10010]) + b"\0\0\0\0"


def test_every_value_type_survives():
    table = {"bool": True, "int": -1, "long": 2**40, "double": 1.5, "text": "a", "void": None, "list": [1, "b", [True]],
             "table": {"deep": {"er": "x"}}, "decimal": amqp.Tagged("D", (2, 314)), "bytes": amqp.Tagged("x", b"\xff")}
    decoded = amqp.Reader(amqp.encode_table(table)).table()
    assert decoded == {**table, "decimal": (2, 314), "bytes": b"\xff"}
    assert amqp.encode_table(decoded) == amqp.encode_table(table)


def test_properties_survive():
    properties = {"content_type": "t", "headers": {"a": 1}, "priority": 255, "timestamp": 2**63, "cluster_id": ""}
    assert amqp.decode_properties(amqp.encode_properties(properties)) == properties


def test_what_a_method_does_not_have_is_refused():
    with pytest.raises(TypeError):
        amqp.encode_method("tx.select", nowait=True)
