-- One index serves claims, in claim order, and holds waiting jobs only; one the rows that are active; one
-- what has ended.
create index concurrently if not exists job_claim
on {schema}.job (name, priority desc, startafter, id) where state < 'active';

create index concurrently if not exists job_active
on {schema}.job (name, worker) where state = 'active';

create index concurrently if not exists job_ended
on {schema}.job (completedon) where state > 'active';

create index concurrently if not exists job_parent
on {schema}.job (parent) where parent is not null;
