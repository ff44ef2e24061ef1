-- Rights that the role lacks on tables that exist. By the catalog, since to_regclass itself wants a right.
select
    wanted.tab,
    wanted.priv
from unnest(%(tables)s::text[], %(rights)s::text[]) with ordinality as wanted (tab, priv, place)
inner join pg_namespace as space on space.nspname = %(schema)s
inner join pg_class as found on space.oid = found.relnamespace and wanted.tab = found.relname
where
    not has_table_privilege(found.oid, wanted.priv)
    or not has_schema_privilege(space.oid, 'usage')
order by wanted.place
