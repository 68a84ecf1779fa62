"""Validation of queue arguments (4). What they do is not looked at here."""

import pytest

from amqp import Tagged
from conftest import differs_from_rabbitmq_3_10

TEN_YEARS = 315360000000
TOO_MUCH = f"{{value_too_large,{TEN_YEARS + 1}}}"
OTHER_TYPE_NAMES = {"f": ("float", 1.0), "d": ("double", 1.0), "S": ("longstr", "5"), "t": ("bool", True),
                    "V": ("void", None), "D": ("decimal", (0, 5)), "T": ("timestamp", 5), "x": ("binary", b"5")}

newer = differs_from_rabbitmq_3_10("other validation, or none, of this argument")


def newer_param(*values):
    return pytest.param(*values, marks=newer)


def refuse(ch, name, arguments, text):
    ch.refuse("queue.declare", "PRECONDITION_FAILED - " + text, queue=name, exclusive=True, arguments=arguments)
    assert not ch.reopen().exists("queue", name)


@pytest.mark.parametrize("argument, value, why", [
    ("x-message-ttl", -1, "{value_negative,-1}"),
    ("x-message-ttl", TEN_YEARS + 1, TOO_MUCH),
    ("x-expires", 0, "{value_zero,0}"),
    ("x-expires", -1, "{value_negative,-1}"),
    ("x-expires", TEN_YEARS + 1, TOO_MUCH),
    ("x-max-length", -1, "{value_negative,-1}"),
    ("x-max-length-bytes", -5, "{value_negative,-5}"),
    ("x-overflow", "nonsense", "invalid_overflow"),
    ("x-overflow", 5, "{unacceptable_type,signedint}"),
    ("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined"),
    ("x-dead-letter-routing-key", 5, "{unacceptable_type,signedint}"),
    ("x-max-priority", -1, "{value_negative,-1}"),
    ("x-max-priority", 256, "{max_value_exceeded,256}"),
    ("x-single-active-consumer", 1, "{unacceptable_type,signedint}"),
    ("x-queue-type", "bogus", "\"unsupported queue type 'bogus'\""),
    ("x-queue-type", 5, "{unacceptable_type,signedint}"),
    newer_param("x-queue-leader-locator", "nonsense", "invalid_queue_locator_arg"),
])
def test_invalid_values(ch, unique, argument, value, why):
    name = unique()
    refuse(ch, name, {argument: value}, f"invalid arg '{argument}' for queue '{name}' in vhost '/': {why}")


@pytest.mark.parametrize("argument", ["x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority"])
@pytest.mark.parametrize("tag", OTHER_TYPE_NAMES)
def test_integers_are_wanted(ch, unique, argument, tag):
    name, (type_name, value) = unique(), OTHER_TYPE_NAMES[tag]
    refuse(ch, name, {argument: Tagged(tag, value)},
           f"invalid arg '{argument}' for queue '{name}' in vhost '/': \"expected integer, got {type_name}\"")


@pytest.mark.parametrize("value, type_name", [(5, "signedint"), (True, "bool"), (Tagged("x", b"dlx"), "binary")])
def test_dead_letter_exchange_must_be_text(ch, unique, value, type_name):
    name = unique()
    refuse(ch, name, {"x-dead-letter-exchange": value},
           f"invalid type '{type_name}' for arg 'x-dead-letter-exchange' in queue '{name}' in vhost '/'")


@pytest.mark.parametrize("argument, value", [
    ("x-delivery-limit", 5), ("x-dead-letter-strategy", "at-most-once"), ("x-quorum-initial-group-size", 1),
    newer_param("x-consumer-timeout", 60000), ("x-max-age", "1D"), ("x-stream-max-segment-size-bytes", 1000),
    ("x-initial-cluster-size", 1),
])
def test_arguments_of_other_queue_types(ch, unique, argument, value):
    name = unique()
    refuse(ch, name, {argument: value},
           f"invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type rabbit_classic_queue")


@pytest.mark.parametrize("arguments", [
    {"x-message-ttl": 0}, {"x-message-ttl": TEN_YEARS}, {"x-expires": 60000}, {"x-expires": TEN_YEARS},
    {"x-max-length": 0}, {"x-max-length": 2**62}, {"x-max-length-bytes": 0}, {"x-max-priority": 0}, {"x-max-priority": 255},
    {"x-overflow": "drop-head"}, {"x-overflow": "reject-publish"}, {"x-overflow": "reject-publish-dlx"},
    {"x-dead-letter-exchange": ""}, {"x-dead-letter-exchange": "not there"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "k"}, {"x-single-active-consumer": False},
    {"x-queue-type": "classic"}, {"x-queue-mode": "lazy"}, {"x-queue-version": 2}, {"nobody knows": "this"},
    newer_param({"x-queue-leader-locator": "client-local"}),
    newer_param({"x-queue-type": ""}), newer_param({"x-queue-mode": "foo"}), newer_param({"x-queue-mode": 5}),
    {"x-queue-version": 1}, {"x-queue-master-locator": "min-masters"},
], ids=str)
def test_valid_arguments(ch, unique, arguments):
    name = ch.queue(unique(), arguments)
    assert ch.queue(name, arguments) == name


@pytest.mark.parametrize("tag", "bBsuIilL")
def test_all_integer_types_are_integers(ch, unique, tag):
    ch.queue(unique(), {"x-max-priority": Tagged(tag, 5)})
