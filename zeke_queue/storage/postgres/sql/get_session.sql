-- Finds a session by its token, whatever a plan that was made on empty tables thinks of the other conditions,
-- and notes that its key was used, as touch_key.sql does.
with opened as materialized (
    select
        key_id,
        ends_on
    from {schema}.api_session
    where digest = %(digest)s::bytea
),

good as materialized (
    select id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
    from {schema}.api_key
    where
        id = (
            select opened.key_id
            from opened
            where opened.ends_on > coalesce(%(now)s::timestamptz, statement_timestamp())
        )
        and revoked_on is null
        and (expires_on is null or expires_on > coalesce(%(now)s::timestamptz, statement_timestamp()))
),

used as (
    update {schema}.api_key set
        last_used_on = coalesce(%(now)s::timestamptz, statement_timestamp())
    where
        id = (select good.id from good)
        and (
            last_used_on is null
            or last_used_on <= coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '1 minute'
        )
)

select id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
from good
