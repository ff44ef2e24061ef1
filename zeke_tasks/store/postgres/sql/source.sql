select
    id,
    type,
    name,
    url,
    authority_score::float8 as authority_score,
    is_active,
    check_frequency_hours,
    metadata
from zeke.sources
where id = %(id)s
