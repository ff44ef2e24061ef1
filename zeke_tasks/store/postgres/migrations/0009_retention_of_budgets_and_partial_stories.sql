-- Retention finds old sums of days and old reservations by these.

create index ai_budget_days_day on zeke.ai_budget_days (day, team_id nulls first);

create index ai_reservations_reserved on zeke.ai_reservations (reserved_at);

create or replace view zeke.v1_stories as
select
    story.id,
    story.kind,
    story.cluster_id,
    story.primary_source_id,
    story.title,
    story.summary,
    story.url,
    story.published_at,
    story.status,
    overlay.why_it_matters,
    overlay.chili,
    overlay.confidence,
    overlay.model,
    overlay.analysed_at,
    story.created_at,
    story.updated_at,
    coalesce(overlay.citations, '[]') as citations,
    coalesce(overlay.analysis_state, 'pending') as analysis_state,
    story.is_partial
from zeke.stories as story
left join zeke.story_overlays as overlay on story.id = overlay.story_id;
