select to_jsonb(source)
from zeke.v1_sources as source
where
    source.id in (
        select subscription.source_id from zeke.v1_subscriptions as subscription
        where subscription.team_id = %(team_id)s
    )
order by source.id
