-- Waits for transactions that write rows of the team.
select pg_advisory_xact_lock(hashtextextended('zeke.team/' || %(id)s::uuid, 0))
