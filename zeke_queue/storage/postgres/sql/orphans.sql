-- Deletes lines of jobs that do not exist: pg-boss deletes jobs alone, and a line may be stored after its job
-- was purged. It checks the next jobs that have lines, behind an id; returns the id behind which to continue,
-- null to begin again, and how many lines it deleted.
with recursive told as (
    (
        select
            job_id,
            1 as number
        from {schema}.job_event
        where job_id > %(after)s::uuid
        order by job_id
        limit 1
    )
    union all
    select
        -- One index search for each job, however many lines it has.
        (
            select event.job_id
            from {schema}.job_event as event
            where event.job_id > told.job_id
            order by event.job_id
            limit 1
        ),
        told.number + 1
    from told
    where told.job_id is not null and told.number < {limit}
),

gone as materialized (
    select told.job_id
    from told
    where
        told.job_id is not null
        and (select true from {schema}.job where job.id = told.job_id limit 1) is null -- noqa: AM09
        and (select true from {schema}.archive where archive.id = told.job_id limit 1) is null -- noqa: AM09
),

deleted as (
    delete from {schema}.job_event
    where seq = any(array(
        select event.seq
        from gone
        cross join lateral (
            select seq
            from {schema}.job_event
            where job_event.job_id = gone.job_id
            order by seq
            limit {limit}
        ) as event
        limit {limit} -- noqa: AM09
    ))
    returning seq
)

select
    (select job_id from told where number = {limit}) as last,
    (select count(*) from deleted) as deleted
