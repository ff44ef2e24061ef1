select
    source_id,
    status,
    last_success_at,
    last_error_at,
    message,
    extract(
        epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - failing_since
    )::float8 as failing_for,
    next_check_at,
    etag,
    last_modified
from zeke.source_health
where source_id = %(source_id)s
