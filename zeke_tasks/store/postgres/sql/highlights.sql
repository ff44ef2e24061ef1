select
    highlight.id,
    highlight.story_id,
    highlight.team_id,
    highlight.kind,
    highlight.title,
    highlight.summary,
    highlight.quote,
    highlight.key,
    highlight.confidence::float8 as confidence,
    highlight.origin,
    highlight.created_by,
    highlight.metadata,
    array(
        select tag from zeke.highlight_tags
        where highlight_id = highlight.id
        order by tag collate "C"
    ) as tags,
    array(
        select url from zeke.highlight_references
        where highlight_id = highlight.id
        order by url collate "C"
    ) as urls,
    highlight.score::float8 as score,
    highlight.score_matches,
    highlight.score_breakdown,
    highlight.scored_at
from zeke.highlights as highlight
where highlight.story_id = %(story_id)s
order by highlight.id
