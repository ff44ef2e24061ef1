-- A video may be several items, and its text none yet, so there is no row to lock.
select pg_advisory_xact_lock(hashtextextended('zeke.video/' || %(video_id)s::text, 0))
