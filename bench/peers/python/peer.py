"""What the programs of Celery and of Dramatiq share: the job, its effect, the producer's orders."""

import os
import struct
import sys
import time

REDIS_URL = os.environ["PEER_REDIS_URL"]
PAD = "." * 60

_record = struct.Struct("<3d").pack
_ledger = None


def now():
    """Microseconds of the machine's monotonic clock."""
    return time.monotonic_ns() // 1000


def job(id):
    return {"id": id, "t": now(), "pad": PAD}


def run(job):
    """The effect of a job."""
    global _ledger
    if _ledger is None:  # opened by the process that runs jobs, which may be a fork
        _ledger = os.open(os.environ["PEER_LEDGER"], os.O_WRONLY | os.O_APPEND)
    os.write(_ledger, _record(job["id"], job["t"], now()))
    if "nap" in job:
        time.sleep(job["nap"])


def obey(send):
    """Does what the lines of standard input say. `send` enqueues one job."""
    for line in sys.stdin:
        order, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        if order in ("single", "bulk"):  # there is no bulk call
            for id in range(*numbers):
                send(job(id))
        elif order == "nap":
            id, seconds = numbers
            send({**job(id), "nap": seconds})
        elif order != "ready":
            raise ValueError(f"{order} is no order")
        print("ok", flush=True)
