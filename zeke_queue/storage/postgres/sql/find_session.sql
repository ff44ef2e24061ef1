-- Finds a session by its token, whatever a plan that was made on empty tables thinks of the other conditions.
with opened as materialized (
    select
        key_id,
        ends_on
    from {schema}.api_session
    where digest = %(digest)s::bytea
)

select
    id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
from {schema}.api_key
where
    id = (
        select opened.key_id
        from opened
        where opened.ends_on > coalesce(%(now)s::timestamptz, statement_timestamp())
    )
    and revoked_on is null
    and (expires_on is null or expires_on > coalesce(%(now)s::timestamptz, statement_timestamp()))
