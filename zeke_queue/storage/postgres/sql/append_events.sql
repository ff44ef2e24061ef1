-- Stores progress and log lines in the given order, except those whose numbers are stored, and notifies
-- watchers.
--
-- Readers ask for what follows the last event that they have, so those of one job must become visible in the
-- order of their numbers, which are drawn before that. So a statement takes the locks of its jobs, in order,
-- before it draws any, and keeps them until its end. The jobs share 512 locks: a server has room for some
-- thousands, and a statement may have events of many jobs.
with turn as materialized (
    select count(pg_advisory_xact_lock(hashtext('{schema}.job_event'), jobs.lock)) as taken
    from (
        select distinct hashtext(job_id::text) & 511 as lock
        from unnest(%(ids)s::uuid[]) as given (job_id)
        order by lock
    ) as jobs
),

noted as (
    insert into {schema}.job_event (job_id, attempt, kind, data, at, number)
    select
        given.job_id,
        given.attempt,
        given.kind,
        given.data::jsonb,
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        given.number
    from turn
    cross join unnest(
        %(ids)s::uuid[], %(attempts)s::int[], %(kinds)s::text[], %(datas)s::text[], %(numbers)s::bigint[]
    ) with ordinality as given (job_id, attempt, kind, data, number, position)
    where turn.taken > 0
    order by given.position
    on conflict (number) where number is not null do nothing
    returning job_id
)

select count(pg_notify(%(job_channel)s, watched.job_id::text)) as told
from (
    select distinct watcher.job_id
    from noted
    inner join {schema}.watcher on noted.job_id = watcher.job_id
    where watcher.until > coalesce(%(now)s::timestamptz, statement_timestamp())
) as watched
