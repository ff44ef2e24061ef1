insert into zeke.source_health as health (
    source_id, status, last_success_at, last_error_at, message, failing_since, next_check_at
)
select
    source.id,
    'error',
    null,
    clock.now,
    %(message)s,
    clock.now,
    clock.now + make_interval(secs => %(next_check_in)s)
from zeke.sources as source
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where source.id = %(source_id)s
for key share of source
on conflict (source_id) do update
set
    status = excluded.status,
    last_error_at = excluded.last_error_at,
    message = excluded.message,
    failing_since = coalesce(health.failing_since, excluded.failing_since),
    next_check_at = excluded.next_check_at
