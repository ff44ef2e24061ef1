-- Counts the jobs of pg-boss by queue and state, but those that an import has taken; created ones with a
-- start in the future as scheduled.
select
    name,
    case
        when state = 'created' and start_after > statement_timestamp() then 'scheduled'
        else state::text
    end as status,
    count(*) as jobs
from {schema}.job
where output -> 'zekeImport' is null
group by 1, 2
