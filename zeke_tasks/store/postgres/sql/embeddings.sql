select
    model,
    vector::real[] as vector
from zeke.story_embeddings
where story_id = %(story_id)s
order by model collate "C", dimensions
