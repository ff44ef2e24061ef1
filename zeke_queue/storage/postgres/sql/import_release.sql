-- Releases jobs that an import has stored and confirmed, so that they start when they are due, and deletes
-- those that pg-boss took back before.
with deleted as (
    delete from {schema}.job
    where id = any(%(back)s::uuid[]) and waitsfor = id and state < 'active'
),

released as (
    update {schema}.job set
        startafter = (meta #>> '{zekeImport,start_after}')::timestamptz,
        waitsfor = null,
        meta = nullif(meta - 'zekeImport', '{}')
    where id = any(%(ids)s::uuid[]) and waitsfor = id and state < 'active'
    returning name
)

select pg_notify(%(work_channel)s, due.name)
from (select distinct name from released) as due
