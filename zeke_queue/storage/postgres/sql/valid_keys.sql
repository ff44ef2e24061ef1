select
    id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
from {schema}.api_key
where
    prefix = %(prefix)s::text
    and revoked_on is null
    and (expires_on is null or expires_on > coalesce(%(now)s::timestamptz, statement_timestamp()))
order by created_on, id
