select pg_advisory_xact_lock_shared(hashtextextended('zeke.team/' || team.id, 0))
from unnest(%(ids)s::uuid[]) as team (id)
