"""What a job's code raises is its job's failure, whatever it is and wherever in the attempt it comes up."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, field_validator

from tests.runtime.workers.place import Place
from zeke_queue.model import JobState

ENDS_PROGRAMS = [KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("raised", ENDS_PROGRAMS)
async def test_a_handler_that_raises_what_ends_programs_fails_its_job_alone(
    raised: type[BaseException],
) -> None:
    place = Place()

    @place.catalog.task("ends", retry_limit=0)
    async def ends() -> None:
        raise raised("of the handler's own")

    @place.catalog.task("other")
    async def other() -> str:
        return "done"

    job_id, following = await place.send(ends), await place.send(other)
    await place.drain(concurrency=1)
    job = await place.job(job_id)
    assert (job.state, job.output["type"]) == (JobState.FAILED, raised.__name__)
    assert (await place.job(following)).output == "done"


@pytest.mark.parametrize("raised", ENDS_PROGRAMS)
async def test_a_payload_whose_own_code_raises_what_ends_programs_fails_its_job_alone(
    raised: type[BaseException],
) -> None:
    place = Place()

    arrived = False

    class Payload(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _check(cls, number: int) -> int:
            if arrived and number:
                raise raised("of the model's own")
            return number

    @place.catalog.task("picky", retry_limit=0)
    async def picky(payload: Payload) -> int:
        return payload.number

    job_id, following = [await place.send(picky, Payload(number=number)) for number in (1, 0)]
    arrived = True
    await place.drain(concurrency=1)
    job = await place.job(job_id)
    assert (job.state, job.output["type"]) == (JobState.FAILED, raised.__name__)
    assert (await place.job(following)).output == 0
