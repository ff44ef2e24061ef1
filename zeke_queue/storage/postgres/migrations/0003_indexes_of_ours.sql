-- Names are in the order of their bytes, which is quick, and which the planner can't confuse with pg-boss's
-- own indexes. One index serves claims, in claim order, and holds waiting jobs only; one the rows that are
-- active; one what has ended.
create index concurrently if not exists job_claim
on {schema}.job (name collate "C", priority desc, startafter, id) where state < 'active';

create index concurrently if not exists job_active
on {schema}.job (name collate "C", worker) where state = 'active';

create index concurrently if not exists job_ended
on {schema}.job (completedon) where state > 'active';

create index concurrently if not exists job_parent
on {schema}.job (parent) where parent is not null;
