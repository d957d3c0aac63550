"""Celery: acknowledges late, so that a worker's death loses no job; no results, events or remote control;
prefetches many, as its documentation advises for very short tasks."""

from celery import Celery

import peer

app = Celery("peers", broker=peer.REDIS_URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=128,
    worker_send_task_events=False,
)


@app.task(name="noop")
def noop(job):
    peer.run(job)
