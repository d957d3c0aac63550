"""Celery's producer: `apply_async` over one kept connection."""

import peer
from celery_app import app, noop

with app.producer_pool.acquire() as producer:
    peer.obey(lambda job: noop.apply_async((job,), producer=producer))
