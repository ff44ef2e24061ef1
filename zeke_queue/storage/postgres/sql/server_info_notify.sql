-- The used share of the notification queue, which all databases of a server share, and the session that
-- probably keeps it from being emptied: one that does not read what it is sent, else the one with the oldest
-- open transaction, else the oldest that listens.
select
    pg_notification_queue_usage() as usage,
    (
        select
            format(
                'session %%s of %%s (%%s)',
                pid, coalesce(nullif(application_name, ''), 'an unnamed program'), coalesce(state, '?')
            )
        from pg_stat_activity
        where
            backend_type = 'client backend'
            and pid <> pg_backend_pid()
            and (wait_event = 'ClientWrite' or xact_start is not null or query ilike 'listen %%')
        order by wait_event is distinct from 'ClientWrite', xact_start nulls last, state_change, pid
        limit 1
    ) as holder
