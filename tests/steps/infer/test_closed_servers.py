"""Test Dask's schedulers and workers of an inference."""

import asyncio

import pytest
from distributed import Scheduler, Worker, core

from pipeline_lib.steps.infer.closed_servers import ClosedScheduler, ClosedWorker

SECONDS_TO_CONNECT = 0.3


async def close_during_a_heartbeat(scheduler_class, worker_class, monkeypatch):
    connect = core.connect

    async def connect_slowly(*arguments, **more):
        await asyncio.sleep(SECONDS_TO_CONNECT)
        return await connect(*arguments, **more)

    async with scheduler_class(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        worker = await worker_class(scheduler.address, host="127.0.0.1", dashboard=False)
        monkeypatch.setattr(core, "connect", connect_slowly)
        heartbeat = asyncio.create_task(worker.heartbeat())
        await asyncio.sleep(SECONDS_TO_CONNECT / 3)
        await worker.close()
        await heartbeat
        return worker.status, len(scheduler.workers)


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_worker_closes_after_its_last_heartbeat(monkeypatch, caplog):
    closed = close_during_a_heartbeat(ClosedScheduler, ClosedWorker, monkeypatch)
    assert asyncio.run(closed) == (core.Status.closed, 0)
    assert "heartbeat" not in caplog.text


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_worker_of_dask_cuts_its_last_heartbeat(monkeypatch, caplog):
    closed = close_during_a_heartbeat(Scheduler, Worker, monkeypatch)
    assert asyncio.run(closed) == (core.Status.closed, 0)
    assert "Failed to communicate with scheduler during heartbeat" in caplog.text
