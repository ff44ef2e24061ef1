with source as (
    select id from zeke.sources
    where id = %(source_id)s
    for key share
),

linked as (
    update zeke.stories as story
    set
        primary_source_id = source.id,
        updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
    from source
    where story.id = %(id)s and story.primary_source_id is distinct from source.id
)

select id from source
