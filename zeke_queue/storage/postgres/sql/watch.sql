-- Watches a job for a minute; again, to go on.
insert into {schema}.watcher (job_id, watcher, until)
values (
    %(id)s::uuid,
    %(watcher)s::uuid,
    coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '60 seconds'
)
on conflict (job_id, watcher) do update set until = excluded.until
