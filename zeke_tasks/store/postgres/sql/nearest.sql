select
    story_id,
    zeke.cosine_distance(vector, %(vector)s::real[]::zeke.embedding) as distance
from zeke.story_embeddings
where model = %(model)s and dimensions = %(dimensions)s
order by distance, story_id
limit %(limit)s
