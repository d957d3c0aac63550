"""Dramatiq's producer: `send`."""

import peer
from dramatiq_app import noop

peer.obey(noop.send)
