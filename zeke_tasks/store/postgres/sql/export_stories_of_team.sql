select to_jsonb(story)
from zeke.v1_stories as story
where
    story.id in (
        select state.story_id from zeke.v1_story_states as state
        where state.team_id = %(team_id)s
        union
        select highlight.story_id from zeke.v1_highlights as highlight
        where highlight.team_id = %(team_id)s
        union
        select highlight.story_id
        from zeke.v1_highlight_states as state
        inner join zeke.v1_highlights as highlight on state.highlight_id = highlight.id
        where state.team_id = %(team_id)s
    )
order by story.id
