select
    id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
from {schema}.api_key
order by created_on, id
