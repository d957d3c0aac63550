"""Dramatiq: the Redis broker with its default middleware."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import peer

dramatiq.set_broker(RedisBroker(url=peer.REDIS_URL))


@dramatiq.actor
def noop(job):
    peer.run(job)
