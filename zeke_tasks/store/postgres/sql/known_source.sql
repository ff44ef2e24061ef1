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
where id = %(id)s or (type = %(type)s and url = %(url)s)
order by id = %(id)s desc
limit 1
