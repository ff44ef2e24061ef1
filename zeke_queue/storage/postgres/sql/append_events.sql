-- Stores progress and log lines in the given order, and notifies watchers.
with noted as (
    insert into {schema}.job_event (job_id, attempt, kind, data, at)
    select
        job_id,
        attempt,
        kind,
        data::jsonb,
        coalesce(%(now)s::timestamptz, statement_timestamp())
    from unnest(
        %(ids)s::uuid[], %(attempts)s::int[], %(kinds)s::text[], %(datas)s::text[]
    ) with ordinality as given (job_id, attempt, kind, data, position)
    order by position
    returning job_id
)

select count(pg_notify(%(job_channel)s, watched.job_id::text)) as told
from (
    select distinct watcher.job_id
    from noted
    inner join {schema}.watcher on noted.job_id = watcher.job_id
    where watcher.until > coalesce(%(now)s::timestamptz, statement_timestamp())
) as watched
