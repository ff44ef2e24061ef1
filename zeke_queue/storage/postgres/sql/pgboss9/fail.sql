-- Ends an attempt with an error: a further one follows if retries are left.
update {schema}.job set
    state = case when retrycount < retrylimit then 'retry' else 'failed' end::{schema}.job_state,
    completedon = case when retrycount < retrylimit then null else now() end,
    startafter = now() + retrydelay * interval '1 second',
    output = '{"check": false}'
where id = %(id)s and state < 'completed'
returning state::text
