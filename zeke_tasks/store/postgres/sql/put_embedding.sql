with told as (
    select id from zeke.stories
    where id = %(story_id)s
    for no key update
)

insert into zeke.story_embeddings as known (story_id, model, dimensions, vector, updated_at)
select
    told.id,
    %(model)s,
    %(dimensions)s,
    %(vector)s::real[]::zeke.embedding,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from told
on conflict (story_id, model, dimensions) do update
set
    vector = excluded.vector,
    updated_at = excluded.updated_at
-- As arrays: where pgvector's operators are is the database's business.
where known.vector::real[] is distinct from excluded.vector::real[]
