-- Sets how long the rest of the transaction waits for a lock at most.
select set_config('lock_timeout', %(milliseconds)s::text, true)
