select
    source.id,
    source.type,
    source.name,
    source.url,
    source.authority_score::float8 as authority_score,
    source.is_active,
    source.check_frequency_hours,
    source.metadata
from zeke.source_connections as connection
inner join zeke.sources as source on connection.source_id = source.id
where connection.team_id = %(team_id)s
order by source.type collate "C", source.name collate "C", source.id
