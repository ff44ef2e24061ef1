-- Ends a key and its sessions. A session that is being opened at this moment may stay as a row, and is not
-- good, since its key is not.
with revoked as (
    update {schema}.api_key set
        revoked_on = coalesce(%(now)s::timestamptz, statement_timestamp())
    where id = %(id)s::uuid and revoked_on is null
    returning id
),

ended as (
    delete from {schema}.api_session
    where ctid = any(array(
        select session.ctid
        from {schema}.api_session as session
        where session.key_id = %(id)s::uuid and exists (select from revoked)
        for update skip locked
    ))
)

select id
from revoked
