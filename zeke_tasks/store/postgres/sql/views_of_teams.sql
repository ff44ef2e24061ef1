select view.relname
from pg_class as view
inner join pg_attribute as attribute on view.oid = attribute.attrelid
where
    view.relnamespace = 'zeke'::regnamespace
    and view.relkind = 'v'
    and view.relname like 'v1@_%%' escape '@'
    and attribute.attname = 'team_id'
order by view.relname
