-- Deletes watches, and expired ones of other processes.
with forgotten as (
    delete from {schema}.watcher
    where
        ctid = any(
            array(
                select stale.ctid from {schema}.watcher as stale
                where
                    stale.until
                    < coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '60 seconds'
                    and stale.watcher <> %(watcher)s::uuid
                for update skip locked
            )
        )
)

delete from {schema}.watcher
where job_id = any(%(ids)s::uuid[]) and watcher = %(watcher)s::uuid
