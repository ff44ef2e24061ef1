-- Watches jobs for a minute; repeat it to continue.
insert into {schema}.watcher (job_id, watcher, until)
select
    given.id,
    %(watcher)s::uuid,
    coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '60 seconds'
from unnest(%(ids)s::uuid[]) as given (id)
on conflict (job_id, watcher) do update set until = excluded.until
