-- Sets how long the rest of the transaction waits for a lock at most; returns the limit that held before.
select
    current_setting('lock_timeout') as before,
    set_config('lock_timeout', %(limit)s::text, true) as after
