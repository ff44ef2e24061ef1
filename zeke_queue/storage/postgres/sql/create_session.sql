-- Opens a session with a good key, and forgets others that have ended.
with opened as (
    insert into {schema}.api_session (digest, key_id, opened_on, ends_on)
    select
        %(digest)s::bytea,
        id,
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        coalesce(%(now)s::timestamptz, statement_timestamp()) + %(length)s::bigint * interval '1 microsecond'
    from {schema}.api_key
    where
        id = %(id)s::uuid
        and revoked_on is null
        and (expires_on is null or expires_on > coalesce(%(now)s::timestamptz, statement_timestamp()))
    on conflict (digest) do nothing
    returning key_id
),

forgotten as (
    delete from {schema}.api_session
    where ctid = any(array(
        select old.ctid
        from {schema}.api_session as old
        where
            old.ends_on <= coalesce(%(now)s::timestamptz, statement_timestamp())
            and old.digest <> %(digest)s::bytea
        for update skip locked
    ))
)

select key_id
from opened
