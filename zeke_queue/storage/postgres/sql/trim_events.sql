-- Deletes, of the oldest events of jobs, those of attempts up to the given ones.
delete from {schema}.job_event
where seq = any(array(
    select oldest.seq
    from unnest(%(ids)s::uuid[], %(attempts)s::int[]) as late (job_id, attempt)
    cross join lateral (
        select
            event.seq,
            event.attempt
        from {schema}.job_event as event
        where event.job_id = late.job_id
        order by event.seq
        limit %(limit)s::int
    ) as oldest
    where oldest.attempt <= late.attempt
))
