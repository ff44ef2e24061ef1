-- Limits the waits of a transaction for locks.
select set_config('lock_timeout', %(milliseconds)s::text, true)
