-- The story is locked, so what is read here stays as it is.
with drafted as (
    update zeke.story_overlays
    set brief_draft = %(brief_draft)s::jsonb
    where story_id = %(story_id)s and brief_draft is distinct from %(brief_draft)s::jsonb
)

select story_id from zeke.story_overlays
where story_id = %(story_id)s
