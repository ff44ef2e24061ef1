-- Returns the jobs that already have these outcomes, at the same attempt.
select
    job.id,
    job.awaited and outcome.ended as awaited
from (
    select
        given.id,
        given.attempt,
        given.state,
        given.failed,
        given.delay is null as ended,
        given.output::jsonb as output
    from unnest(
        %(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(delays)s::bigint[],
        %(outputs)s::text[], %(faileds)s::bool[]
    ) as given (id, attempt, state, delay, output, failed)
) as outcome
inner join {schema}.job on job.id = any(array[outcome.id]) and outcome.attempt = job.attempt
where
    -- A job whose slot was taken has failed instead of waiting again.
    case
        when not outcome.ended and job.state = 'failed' then job.output -> 'superseded_by' is not null
        when outcome.ended or outcome.failed
            then job.state::text = outcome.state and job.output is not distinct from outcome.output
        else job.state::text = outcome.state
    end
