-- Completes a fetched job, and sends the completion job that its sender asked for.
with ended as (
    update {schema}.job set
        completedon = now(),
        state = 'completed',
        output = '{"check": true}'
    where id = %(id)s and state = 'active'
    returning *
)

insert into {schema}.job (name, data, keepuntil)
select
    '__state__completed__' || name,
    jsonb_build_object('request', data, 'state', state, 'retryCount', retrycount, 'startedOn', startedon),
    keepuntil + (keepuntil - startafter)
from ended
where on_complete
returning name
