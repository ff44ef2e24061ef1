-- One at a time: each moves stories to other sources, which must not be deleted meanwhile.
select pg_advisory_xact_lock(hashtextextended('zeke.delete_source', 0))
