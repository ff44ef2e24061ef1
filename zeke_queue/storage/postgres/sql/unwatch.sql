-- Ends a watch, and those that nobody ended in time.
delete from {schema}.watcher
where
    (job_id = %(id)s::uuid and watcher = %(watcher)s::uuid)
    or until < coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '60 seconds'
