-- Expires the overdue jobs of a queue; pg-boss does so in all queues.
update {schema}.job set
    state = case when retrycount < retrylimit then 'retry' else 'expired' end::{schema}.job_state,
    completedon = case when retrycount < retrylimit then null else now() end
where name = %(name)s and state = 'active' and startedon + expirein < now() + interval '1 hour'
returning id
