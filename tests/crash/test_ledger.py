"""The ledger against made-up histories: legal ones pass, and each kind of violation is found."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ledger as books  # noqa: E402

RUN = 7


class World:
    """A ledger with queues 'a' and 'b', a fanout 'f' to both, and a clock of its own. Time passes when a test says."""

    def __init__(self, lazy_window=1.0):
        self.now = 100.0
        self.ledger = books.Ledger(RUN, lambda: self.now, lazy_window)
        self.ledger.round = 1
        self.a, self.b = self.ledger.queue("a"), self.ledger.queue("b")
        self.ledger.exchange_declare_sent("f")
        self.ledger.exchange_declare_ok("f")
        for queue in (self.a, self.b):
            self.ledger.declare_sent(queue)
            self.ledger.declare_ok(queue, 0, True)
            self.ledger.bind_sent(queue, "f", "")
            self.ledger.bind_ok(queue, "f", "")
        self.me = self.ledger.publisher()
        self.bodies = {}

    def publish(self, exchange="", key="a", confirm=True, persistent=True, tx=None, publisher=None):
        message, body = self.ledger.publish(publisher or self.me, exchange, key, 100, persistent, tx)
        self.bodies[message] = body
        if confirm and tx is None:
            self.ledger.confirmed(message)
        return message

    def deliver(self, reader, message, redelivered=False):
        return self.ledger.delivered(reader, self.bodies[message], redelivered, str(message), message.persistent)

    def consume(self, *messages, queue=None, ack=True, redelivered=False):
        """A consumer takes these and has its acks processed."""
        reader = self.ledger.reader(queue or self.a)
        copies = [self.deliver(reader, m, redelivered) for m in messages]
        if ack:
            self.ledger.acked(copies)
            self.ledger.acks_processed(copies)
        return copies

    def kill(self, clean=False):
        self.ledger.crash(self.now, clean)

    def drain(self, *messages, queue=None, redelivered=False):
        """A full drain of one queue (a) gives these; its acks are processed."""
        queue = queue or self.a
        reader = self.ledger.reader(queue, strict=True)
        copies = [c for c in (self.deliver(reader, m, redelivered) for m in messages) if c is not None]
        self.ledger.acked(copies)
        self.ledger.acks_processed(copies)
        self.ledger.drained(queue)

    def found(self):
        """Kinds of violations and how many, and forgets them."""
        found = {}
        for violation in self.ledger.violations:
            found[violation.kind] = found.get(violation.kind, 0) + violation.count
        self.ledger.violations.clear()
        return found


@pytest.fixture
def world():
    return World()


# --- bodies ---


@pytest.mark.parametrize("size", [16, 17, 64, 4096, 300_000])
def test_body_says_what_it_is(size):
    body = books.make_body(RUN, 3, 9, "label", size)
    assert len(body) == size
    assert books.read_body(body) == (RUN, 3, 9)


@pytest.mark.parametrize("at", [0, 5, 11, 13, 16, 99])
def test_changed_byte_is_seen(at):
    body = bytearray(books.make_body(RUN, 3, 9, "label", 100))
    body[at] ^= 1
    assert books.read_body(bytes(body)) is None


def test_cut_body_is_seen():
    body = books.make_body(RUN, 3, 9, "label", 100)
    assert books.read_body(body[:-1]) is None
    assert books.read_body(body[:10]) is None


# --- lost and phantom ---


def test_confirmed_message_survives(world):
    m = world.publish()
    world.kill()
    world.drain(m)
    assert world.found() == {}


def test_confirmed_message_is_lost(world):
    first, second = world.publish(), world.publish()
    world.kill()
    world.drain(first)
    assert world.found() == {"lost": 1}
    assert second.copies[0].settled


def test_loss_counts_for_the_round_of_the_publish(world):
    world.ledger.round = 3
    world.publish()
    world.ledger.round = 5
    world.kill()
    world.drain()
    assert [v.round for v in world.ledger.violations] == [3]


def test_lost_message_is_reported_once(world):
    world.publish()
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}
    world.kill()
    world.drain()
    assert world.found() == {}


def test_delivery_before_the_kill_does_not_excuse_a_loss(world):
    m = world.publish()
    world.consume(m, ack=False)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


def test_unconfirmed_message_may_be_there_or_not(world):
    first, _ = world.publish(confirm=False), world.publish(confirm=False)
    world.kill()
    world.drain(first)
    assert world.found() == {}


def test_unconfirmed_message_that_was_absent_must_not_turn_up(world):
    m = world.publish(confirm=False)
    world.kill()
    world.drain()
    world.kill()
    world.drain(m)
    assert world.found() == {"phantom": 1}


def test_unconfirmed_message_that_came_from_the_disk_must_stay(world):
    m = world.publish(confirm=False)
    world.kill()
    world.consume(m, ack=False)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


def test_nacked_message_may_be_there_or_not(world):
    first, second = world.publish(confirm=False), world.publish(confirm=False)
    world.ledger.refused(first)
    world.ledger.refused(second)
    world.kill()
    world.drain(second)
    assert world.found() == {}


def test_transient_message_may_not_survive(world):
    m = world.publish(persistent=False)
    world.kill()
    world.drain()
    assert world.found() == {}
    world.kill()
    world.drain(m)
    assert world.found() == {"phantom": 1}


def test_message_that_nobody_published(world):
    reader = world.ledger.reader(world.a)
    assert world.ledger.delivered(reader, books.make_body(RUN, world.me, 5, "", 50), False) is None
    assert world.found() == {"phantom": 1}


def test_message_of_another_run(world):
    world.publish()
    reader = world.ledger.reader(world.a)
    assert world.ledger.delivered(reader, books.make_body(RUN + 1, world.me, 0, "", 100), False) is None
    assert world.found() == {"phantom": 1}


def test_message_of_another_queue(world):
    m = world.publish(key="b")
    world.deliver(world.ledger.reader(world.a), m)
    assert world.found() == {"phantom": 1}


def test_fanout_must_reach_every_queue(world):
    m = world.publish("f", "")
    world.kill()
    world.drain(m)
    world.drain(queue=world.b)
    assert world.found() == {"lost": 1}


@pytest.mark.parametrize("change", ["byte", "size", "id", "mode"])
def test_corrupt(world, change):
    m = world.publish()
    body, id_, persistent = world.bodies[m], str(m), True
    if change == "byte":
        body = body[:50] + b"?" + body[51:]
    elif change == "size":
        body = books.make_body(RUN, m.publisher, m.number, "", 99)
    elif change == "id":
        id_ = "other"
    else:
        persistent = False
    world.ledger.delivered(world.ledger.reader(world.a), body, False, id_, persistent)
    assert world.found() == {"corrupt": 1}


# --- acknowledgements ---


def test_young_ack_may_be_forgotten(world):
    m = world.publish()
    world.consume(m)
    world.now += 0.9
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {}
    assert world.ledger.counters["duplicated"] == 1


def test_old_ack_must_hold(world):
    m = world.publish()
    world.consume(m)
    world.now += 1.1
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {"ack": 1}


def test_old_ack_that_was_perhaps_not_processed_may_be_forgotten(world):
    m = world.publish()
    world.ledger.acked(world.consume(m, ack=False))
    world.now += 5
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {}


def test_orderly_stop_leaves_no_ack_behind(world):
    m = world.publish()
    world.consume(m)
    world.kill(clean=True)
    world.drain(m, redelivered=True)
    assert world.found() == {"ack": 1}


def test_forgotten_ack_means_that_the_message_must_stay(world):
    m = world.publish()
    world.consume(m)
    world.kill()
    world.consume(m, ack=False, redelivered=True)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


def test_forgotten_ack_may_show_after_several_restarts(world):
    m = world.publish()
    world.consume(m)
    world.kill()
    world.now += 5
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {}


def test_acknowledged_message_may_be_absent_whatever_its_age(world):
    first, second = world.publish(), world.publish()
    world.consume(first)
    world.now += 2
    world.consume(second)
    world.kill()
    world.drain()
    assert world.found() == {}


def test_acknowledged_message_comes_again_in_the_same_life(world):
    m = world.publish()
    world.consume(m)
    world.deliver(world.ledger.reader(world.a), m, redelivered=True)
    assert world.found() == {"ack": 1}


def test_confirm_behind_the_ack_asks_for_nothing(world):
    m = world.publish(confirm=False)
    world.consume(m)
    world.ledger.confirmed(m)
    world.kill()
    world.drain()
    assert world.found() == {}


def test_without_a_window_acks_may_always_be_forgotten():
    world = World(lazy_window=None)
    m = world.publish()
    world.consume(m)
    world.now += 100
    world.kill(clean=True)
    world.drain(m, redelivered=True)
    assert world.found() == {}


# --- order and redelivered ---


def test_first_deliveries_are_in_order(world):
    first, second, third = (world.publish() for _ in range(3))
    reader = world.ledger.reader(world.a)
    world.deliver(reader, first)
    world.deliver(reader, third)
    assert world.found() == {}
    world.deliver(reader, second)
    assert world.found() == {"misordered": 1}


def test_two_consumers_share_a_queue(world):
    first, second = world.publish(), world.publish()
    one, other = world.ledger.reader(world.a), world.ledger.reader(world.a)
    world.deliver(one, second)
    world.deliver(other, first)
    assert world.found() == {}


def test_publishers_are_in_no_order_among_each_other(world):
    other = world.ledger.publisher()
    messages = [world.publish(), world.publish(publisher=other), world.publish(), world.publish(publisher=other)]
    world.kill()
    world.drain(messages[1], messages[0], messages[3], messages[2])
    assert world.found() == {}


def test_requeued_messages_may_come_out_of_order(world):
    first, second = world.publish(), world.publish()
    reader = world.ledger.reader(world.a)
    world.deliver(reader, first)
    world.deliver(reader, second)
    world.deliver(reader, first, redelivered=True)
    assert world.found() == {}


def test_drain_is_in_order_whatever_is_redelivered(world):
    first, second = world.publish(), world.publish()
    world.consume(first, ack=False)
    world.kill()
    world.drain(second, first, redelivered=True)
    assert world.found() == {"misordered": 1}


def test_drain_gives_each_message_once(world):
    m = world.publish()
    world.kill()
    reader = world.ledger.reader(world.a, strict=True)
    world.deliver(reader, m)
    assert world.found() == {}
    world.deliver(reader, m, redelivered=True)
    assert world.found() == {"doubled": 1}


def test_redelivered_without_a_delivery(world):
    m = world.publish()
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {"flag": 1}


def test_first_delivery_is_not_redelivered_in_the_same_life(world):
    m = world.publish()
    world.deliver(world.ledger.reader(world.a), m, redelivered=True)
    assert world.found() == {"flag": 1}


def test_delivery_that_we_have_not_read_may_count(world):
    m = world.publish()
    world.ledger.reader(world.a)
    world.kill()
    world.drain(m, redelivered=True)
    assert world.found() == {}


@pytest.mark.parametrize("age, redelivered, expected", [
    (0.5, False, {}), (0.5, True, {}), (1.5, True, {}), (1.5, False, {"flag": 1})])
def test_old_delivery_is_remembered(world, age, redelivered, expected):
    m = world.publish()
    world.consume(m, ack=False)
    world.now += age
    world.kill()
    world.drain(m, redelivered=redelivered)
    assert world.found() == expected


def test_second_delivery_in_the_same_life_is_redelivered(world):
    m = world.publish()
    world.consume(m, ack=False)
    world.deliver(world.ledger.reader(world.a), m)
    assert world.found() == {"flag": 1}


# --- purge and delete ---


def test_purged_message_must_not_come(world):
    m = world.publish()
    world.ledger.purge_sent(world.a, world.me)
    world.ledger.purge_ok(world.a)
    world.kill()
    world.drain(m)
    assert world.found() == {"purge": 1}


@pytest.mark.parametrize("survives", [True, False])
def test_purge_without_an_answer(world, survives):
    m = world.publish()
    world.ledger.purge_sent(world.a, world.me)
    world.kill()
    world.drain(*[m] * survives)
    assert world.found() == {}


def test_what_survived_a_purge_must_stay(world):
    m = world.publish()
    world.ledger.purge_sent(world.a, world.me)
    world.kill()
    world.consume(m, ack=False)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


def test_publish_behind_the_purge_is_not_purged(world):
    world.publish(confirm=False)
    world.ledger.purge_sent(world.a, world.me)
    m = world.publish(confirm=False)
    world.ledger.purge_ok(world.a)
    world.ledger.confirmed(m)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


@pytest.mark.parametrize("survives", [True, False])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_publish_of_another_channel_that_a_purge_may_have_met(world, when, survives):
    other = world.ledger.publisher()
    if when == "before":
        m = world.publish(publisher=other, confirm=False)
        world.ledger.purge_sent(world.a, world.me)
    else:
        world.ledger.purge_sent(world.a, world.me)
        m = world.publish(publisher=other, confirm=False)
    world.ledger.purge_ok(world.a)
    world.ledger.confirmed(m)
    world.kill()
    world.drain(*[m] * survives)
    assert world.found() == {}


def test_purge_leaves_other_queues_alone(world):
    m = world.publish("f", "")
    world.ledger.purge_sent(world.a, world.me)
    world.ledger.purge_ok(world.a)
    world.kill()
    world.drain()
    world.drain(queue=world.b)
    assert world.found() == {"lost": 1}
    assert m.copies


def delete(world):
    world.ledger.delete_sent(world.a, world.me)
    world.ledger.delete_ok(world.a)


def test_deleted_queue_must_not_be_there(world):
    delete(world)
    world.kill()
    world.ledger.found(world.a, False)
    assert world.found() == {}
    world.ledger.found(world.a, True)
    assert world.found() == {"delete": 1}


def test_deleted_message_must_not_come_to_the_new_queue(world):
    m = world.publish()
    delete(world)
    world.ledger.declare_sent(world.a)
    world.ledger.declare_ok(world.a, 0, was_absent=True)
    world.kill()
    world.drain(m)
    assert world.found() == {"delete": 1}


def test_new_queue_must_be_empty(world):
    world.publish()
    delete(world)
    world.ledger.declare_sent(world.a)
    world.ledger.declare_ok(world.a, 1, was_absent=True)
    assert world.found() == {"delete": 1}


@pytest.mark.parametrize("exists", [True, False])
def test_delete_without_an_answer(world, exists):
    m = world.publish()
    world.ledger.delete_sent(world.a, world.me)
    world.kill()
    world.ledger.found(world.a, exists)
    world.drain(*[m] * exists)
    assert world.found() == {}


def test_fanout_after_the_delete_reaches_the_rest(world):
    delete(world)
    m = world.publish("f", "")
    assert [copy.queue for copy in m.copies] == [world.b]


def test_fanout_that_was_under_way_may_reach_a_new_binding(world):
    delete(world)
    m = world.publish("f", "", confirm=False)
    world.ledger.declare_sent(world.a)
    world.ledger.declare_ok(world.a, 0, True)
    world.ledger.bind_sent(world.a, "f", "")
    world.ledger.bind_ok(world.a, "f", "")
    world.ledger.confirmed(m)
    world.kill()
    world.drain(m)
    world.drain(m, queue=world.b)
    assert world.found() == {}


# --- transactions ---


def committed(world, answered):
    """A transaction that acknowledges a confirmed message of a and publishes to a and b."""
    old = world.publish()
    tx = books.Tx()
    tx.acks = world.consume(old, ack=False)
    to_a, to_b = world.publish(tx=tx), world.publish(key="b", tx=tx)
    world.ledger.commit_sent(tx)
    if answered:
        world.ledger.commit_ok(tx)
    world.kill()
    return old, to_a, to_b


@pytest.mark.parametrize("answered", [True, False])
def test_tx_as_a_whole(world, answered):
    _, to_a, to_b = committed(world, answered)
    world.drain(to_a)
    world.drain(to_b, queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {}


def test_tx_not_at_all(world):
    old, _, _ = committed(world, answered=False)
    world.drain(old)
    world.drain(queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {}


def test_tx_without_an_answer_loses_a_publish(world):
    _, to_a, _ = committed(world, answered=False)
    world.drain(to_a)
    world.drain(queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {"tx": 1}


def test_tx_without_an_answer_loses_its_ack(world):
    old, to_a, to_b = committed(world, answered=False)
    world.drain(old, to_a, redelivered=True)
    world.found()
    world.drain(to_b, queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {"tx": 1}


def test_tx_without_an_answer_keeps_only_its_ack(world):
    committed(world, answered=False)
    world.drain()
    world.drain(queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {"tx": 1}


def test_what_was_consumed_before_the_kill_proves_nothing(world):
    tx = books.Tx()
    to_a, to_b = world.publish(tx=tx), world.publish(key="b", tx=tx)
    world.ledger.commit_sent(tx)
    world.consume(to_a)
    world.kill()
    world.drain()
    world.drain(to_b, queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {}


def test_ack_of_a_message_that_was_never_sure_proves_nothing(world):
    old = world.publish(confirm=False)
    tx = books.Tx()
    tx.acks = world.consume(old, ack=False)
    world.publish(key="b", tx=tx)
    world.ledger.commit_sent(tx)
    world.kill()
    world.drain()
    world.drain(queue=world.b)
    world.ledger.judge_transactions()
    assert world.found() == {}


def test_committed_tx_loses_a_publish(world):
    _, to_a, _ = committed(world, answered=True)
    world.drain(to_a)
    world.drain(queue=world.b)
    assert world.found() == {"lost": 1}


def test_committed_ack_holds_at_once(world):
    old, to_a, to_b = committed(world, answered=True)
    world.drain(old, to_a)
    world.drain(to_b, queue=world.b)
    assert world.found() == {"ack": 1}


def test_rolled_back_message_must_not_come(world):
    tx = books.Tx()
    m = world.publish(tx=tx)
    world.ledger.rollback_sent(tx)
    world.deliver(world.ledger.reader(world.a), m)
    assert world.found() == {"tx": 1}


def test_message_comes_before_its_commit(world):
    m = world.publish(tx=books.Tx())
    world.deliver(world.ledger.reader(world.a), m)
    assert world.found() == {"tx": 1}


def test_message_that_was_not_committed_before_the_kill(world):
    m = world.publish(tx=books.Tx())
    world.kill()
    world.drain(m)
    assert world.found() == {"tx": 1}


def test_ack_that_was_not_committed_is_none(world):
    m = world.publish()
    tx = books.Tx()
    tx.acks = world.consume(m, ack=False)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


# --- a store that fails ---


@pytest.mark.parametrize("ack_at, expected", [(-1.5, {"ack": 1}), (-0.5, {}), (0.5, {})])
def test_ack_after_the_failure_may_be_forgotten(world, ack_at, expected):
    m = world.publish()
    failure = world.now + 2
    world.now = failure + ack_at
    world.consume(m)
    world.now = failure + 5
    world.ledger.crash(world.now, trouble_at=failure)
    world.drain(m, redelivered=True)
    assert world.found() == expected


def test_failure_does_not_excuse_a_loss(world):
    world.publish()
    world.ledger.crash(world.now, trouble_at=world.now)
    world.drain()
    assert world.found() == {"lost": 1}


def refused_commit(world):
    """Of a transaction that acknowledges a message of a and publishes to it."""
    old = world.publish()
    tx = books.Tx()
    tx.acks = world.consume(old, ack=False)
    new = world.publish(tx=tx)
    world.ledger.commit_sent(tx)
    return tx, old, new


def test_refused_commit_has_not_happened(world):
    tx, old, _ = refused_commit(world)
    world.ledger.commit_refused(tx)
    world.kill()
    world.drain(old, redelivered=True)
    assert world.found() == {}


def test_publish_of_a_refused_commit_must_not_come(world):
    tx, old, new = refused_commit(world)
    world.ledger.commit_refused(tx)
    world.kill()
    world.drain(old, new, redelivered=True)
    assert world.found()["tx"] == 1


def test_ack_of_a_refused_commit_must_not_count(world):
    tx, _, _ = refused_commit(world)
    world.ledger.commit_refused(tx)
    world.kill()
    world.drain()
    assert world.found() == {"lost": 1}


@pytest.mark.parametrize("refused, expected", [(True, {}), (False, {"ack": 1})])
def test_message_comes_again_before_the_answer_to_a_commit(world, refused, expected):
    tx, old, _ = refused_commit(world)
    world.consume(old, redelivered=True)
    if refused:
        world.ledger.commit_refused(tx)
    else:
        world.ledger.commit_ok(tx)
    assert world.found() == expected


def test_refused_commit_does_not_undo_the_ack_of_another(world):
    tx, old, _ = refused_commit(world)
    world.consume(old, redelivered=True)
    world.ledger.commit_refused(tx)
    world.now += 2
    world.kill()
    world.drain()
    assert world.found() == {}


@pytest.mark.parametrize("comes, expected", [(True, {}), (False, {"lost": 1})])
def test_refused_purge_has_not_happened(world, comes, expected):
    m = world.publish()
    world.ledger.purge_sent(world.a, world.me)
    world.ledger.leaving_refused(world.a)
    world.kill()
    world.drain(*[m] * comes)
    assert world.found() == expected


def test_queue_whose_deletion_was_refused_must_be_there(world):
    world.ledger.delete_sent(world.a, world.me)
    world.ledger.leaving_refused(world.a)
    world.kill()
    world.ledger.found(world.a, False)
    assert world.found() == {"definition": 1}


@pytest.mark.parametrize("cuts, readers, expected", [
    (False, 2, {"flag": 1}), (True, 1, {"flag": 1}), (True, 2, {})])
def test_delivery_on_a_connection_that_was_cut(world, cuts, readers, expected):
    world.ledger.cuts = cuts
    m = world.publish()
    reader = [world.ledger.reader(world.a) for _ in range(readers)][-1]
    world.deliver(reader, m, redelivered=True)
    assert world.found() == expected


# --- definitions and counts ---


def test_lost_queue(world):
    world.publish()
    world.kill()
    world.ledger.found(world.a, False)
    assert world.found() == {"definition": 1, "lost": 1}


@pytest.mark.parametrize("exists, expected", [(True, {}), (False, {"definition": 1})])
def test_durable_exchange(world, exists, expected):
    world.kill()
    world.ledger.found_exchange("f", exists)
    assert world.found() == expected


def test_deleted_exchange(world):
    world.ledger.exchange_delete_sent("f")
    world.ledger.exchange_delete_ok("f")
    world.kill()
    world.ledger.found_exchange("f", True)
    assert world.found() == {"delete": 1}


def test_queue_that_does_not_last(world):
    queue = world.ledger.queue("c")
    world.ledger.declare_sent(queue, durable=False)
    world.ledger.declare_ok(queue, 0, True)
    world.kill()
    world.ledger.found(queue, False)
    assert world.found() == {}
    world.ledger.found(queue, True)
    assert world.found() == {"definition": 1}


@pytest.mark.parametrize("exists", [True, False])
def test_declare_without_an_answer(world, exists):
    queue = world.ledger.queue("c")
    world.ledger.declare_sent(queue)
    world.kill()
    world.ledger.found(queue, exists)
    assert world.found() == {}


def test_binding_is_gone(world):
    world.ledger.found_route(world.a, "f", "", routed=False)
    assert world.found() == {"definition": 1}


def test_binding_is_there_again(world):
    world.ledger.unbind_sent(world.a, "f", "")
    world.ledger.unbind_ok(world.a, "f", "")
    world.ledger.found_route(world.a, "f", "", routed=True)
    assert world.found() == {"delete": 1}


@pytest.mark.parametrize("routed", [True, False])
def test_unbind_without_an_answer(world, routed):
    world.ledger.unbind_sent(world.a, "f", "")
    world.kill()
    world.ledger.found_route(world.a, "f", "", routed)
    assert world.found() == {}


@pytest.mark.parametrize("count, expected", [(1, {"count": 1}), (2, {}), (3, {}), (4, {"count": 1})])
def test_count_after_a_restart(world, count, expected):
    world.publish()
    world.publish()
    world.publish(confirm=False)
    world.publish(persistent=False)
    world.kill()
    world.ledger.expect_count(world.a, count)
    assert world.found() == expected
