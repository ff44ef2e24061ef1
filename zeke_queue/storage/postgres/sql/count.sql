select
    name,
    state::text,
    count(*)
from {schema}.job
group by name, state
order by name collate "C", state
