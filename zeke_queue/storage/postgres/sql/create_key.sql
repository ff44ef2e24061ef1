-- Stores an API key, or finds the one whose id is there already, and stays as it is.
insert into {schema}.api_key as known (
    id, name, prefix, digest, scopes, team_id, created_on, expires_on
)
values (
    %(id)s::uuid,
    %(name)s::text,
    %(prefix)s::text,
    %(digest)s::bytea,
    %(scopes)s::text[],
    %(team_id)s::uuid,
    coalesce(%(now)s::timestamptz, statement_timestamp()),
    coalesce(%(now)s::timestamptz, statement_timestamp())
    + %(expires_in)s::bigint * interval '1 microsecond'
)
on conflict (id) do update set name = known.name
returning
    id, name, prefix, digest, scopes, team_id, created_on, expires_on, last_used_on, revoked_on
