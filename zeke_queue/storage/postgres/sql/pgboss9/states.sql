-- The states in the order of their enum, by which they are compared.
select enumlabel::text
from pg_enum
where enumtypid = to_regtype(%(type)s)
order by enumsortorder
