select
    api_key.id, api_key.name, api_key.prefix, api_key.digest, api_key.scopes, api_key.team_id,
    api_key.created_on, api_key.expires_on, api_key.last_used_on, api_key.revoked_on
from {schema}.api_session
inner join {schema}.api_key on api_session.key_id = api_key.id
where
    api_session.digest = %(digest)s::bytea
    and api_session.ends_on > coalesce(%(now)s::timestamptz, statement_timestamp())
    and api_key.revoked_on is null
    and (
        api_key.expires_on is null
        or api_key.expires_on > coalesce(%(now)s::timestamptz, statement_timestamp())
    )
