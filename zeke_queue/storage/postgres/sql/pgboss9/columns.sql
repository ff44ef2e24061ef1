-- The columns of a table as declared, without the schema's name.
select
    attname::text,
    format_type(atttypid, atttypmod)
    || case when attnotnull then ' not null' else '' end
    || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
from pg_attribute
left join pg_attrdef on attrelid = adrelid and attnum = adnum
where attrelid = to_regclass(%(table)s) and attnum > 0 and not attisdropped
order by attnum
