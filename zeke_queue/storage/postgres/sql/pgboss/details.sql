-- Counts, by queue, the unfinished jobs of pg-boss that can't be carried whole: past their retention, of a
-- flow, with a key; those that an interrupted import has claimed; and the names of dead letters.
select
    name,
    count(*) filter (where state < 'active' and keep_until <= statement_timestamp()) as past,
    count(*) filter (
        where
        coalesce((to_jsonb(job) ->> 'blocked')::bool, false)
        or coalesce((to_jsonb(job) ->> 'blocking')::bool, false)
    ) as flow,
    count(*) filter (where state < 'active' and singleton_key is not null and singleton_on is null) as labels,
    count(*) filter (where state = 'active' and output -> 'zekeImport' is not null) as claimed,
    array_agg(distinct dead_letter) filter (where dead_letter is not null) as dead_letters
from {schema}.job as job
where state <= 'active'
group by 1
