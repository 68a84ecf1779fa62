"""The application that test_celery.py and its workers share, apart from others by its prefix."""

import os
import time
import uuid

from celery import Celery

# workers inherit it from the process of the tests
PREFIX = os.environ.setdefault("INTEROP_CELERY_PREFIX", f"interop.{uuid.uuid4().hex[:12]}")
# another address of the same broker, for a worker behind a relay
ADDRESS = os.environ.get(
    "INTEROP_CELERY_ADDRESS", "{CONEY_HOST}:{CONEY_PORT}".format_map(os.environ))

app = Celery("interop", broker="amqp://{CONEY_USER}:{CONEY_PASS}@".format_map(os.environ)
             + ADDRESS + "//", backend="rpc://")
app.conf.update(
    task_default_queue=PREFIX,
    control_exchange=PREFIX,
    event_exchange=f"{PREFIX}.events",
    event_queue_prefix=f"{PREFIX}.events",
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_send_sent_event=True,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=10,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    result_accept_content=["json"],
)


@app.task
def add(a, b):
    return a + b


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def succeed_at_third_attempt(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task(bind=True, autoretry_for=(KeyError,), max_retries=2, default_retry_delay=0.1)
def fail_at_every_attempt(self):
    raise KeyError(f"attempt {self.request.retries}")


@app.task
def now():
    return time.time()


@app.task
def size(text):
    return len(text)


@app.task(bind=True)
def who(self):
    return {"pid": os.getpid(), "hostname": self.request.hostname,
            "redelivered": self.request.delivery_info["redelivered"]}


@app.task(acks_late=True)
def hold(gate):
    """Occupies a process of the pool until the file named by gate is there."""
    while not os.path.exists(gate):
        time.sleep(0.02)
    return gate
