with told as (
    select story.id
    from zeke.stories as story
    inner join zeke.highlights as highlight on story.id = highlight.story_id
    where highlight.id = %(id)s
    for no key update of story
)

update zeke.highlights as highlight
set
    score = %(value)s::numeric(3, 2),
    score_matches = %(matches)s::text[],
    score_breakdown = %(breakdown)s::jsonb,
    scored_at = clock.now,
    updated_at = clock.now
from told
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where
    highlight.id = %(id)s
    and highlight.story_id = told.id
    and (highlight.score, highlight.score_matches, highlight.score_breakdown::text)
    is distinct from (%(value)s::numeric(3, 2), %(matches)s::text[], %(breakdown)s::jsonb::text)
returning highlight.id
