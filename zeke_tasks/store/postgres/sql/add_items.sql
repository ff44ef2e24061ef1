insert into zeke.raw_items (
    id, source_id, external_id, kind, url, title, published_at, body, metadata, created_at, updated_at
)
select
    item.id,
    source.id,
    item.external_id,
    item.kind,
    item.url,
    item.title,
    item.published_at,
    item.body,
    item.metadata::jsonb,
    clock.now,
    clock.now
from unnest(
    %(ids)s::uuid[],
    %(external_ids)s::text[],
    %(kinds)s::text[],
    %(urls)s::text[],
    %(titles)s::text[],
    %(published)s::timestamptz[],
    %(bodies)s::text[],
    %(metadatas)s::text[]
) with ordinality as item (id, external_id, kind, url, title, published_at, body, metadata, position)
inner join zeke.sources as source on source.id = %(source_id)s
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
-- One order for all, so that two of these never wait for each other.
order by item.external_id
for key share of source
-- Any conflict: a row that another transaction inserts meanwhile may be met first by its id.
on conflict do nothing
returning id
