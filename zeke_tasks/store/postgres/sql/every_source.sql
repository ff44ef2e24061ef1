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
order by type collate "C", name collate "C", id
