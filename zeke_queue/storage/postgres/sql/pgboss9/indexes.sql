-- The valid indexes of pg-boss's tables, and whether they are unique.
select
    found.relname::text,
    indisunique
from pg_index
inner join pg_class as found on indexrelid = found.oid
where found.relnamespace = to_regnamespace(%(space)s) and indisvalid and indisready
