select pg_try_advisory_xact_lock_shared(hashtextextended('zeke.team/' || %(id)s::uuid, 0)) as kept
