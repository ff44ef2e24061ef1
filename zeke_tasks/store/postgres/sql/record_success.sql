insert into zeke.source_health (
    source_id, status, last_success_at, message, failing_since, next_check_at, etag, last_modified
)
select
    source.id,
    %(status)s,
    clock.now,
    %(message)s,
    null,
    clock.now + make_interval(secs => %(next_check_in)s),
    %(etag)s,
    %(last_modified)s
from zeke.sources as source
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where source.id = %(source_id)s
for key share of source
on conflict (source_id) do update
set
    status = excluded.status,
    last_success_at = excluded.last_success_at,
    message = excluded.message,
    failing_since = null,
    next_check_at = excluded.next_check_at,
    etag = excluded.etag,
    last_modified = excluded.last_modified
