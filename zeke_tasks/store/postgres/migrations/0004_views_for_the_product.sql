-- The contract with the product, which docs/data.md describes: migrations may change the tables, but these
-- columns keep their names, types and meanings. A later migration redefines a view by "create or replace",
-- which keeps its grants, and never drops it.

create view zeke.v1_sources as
select
    source.id,
    source.type,
    source.name,
    source.url,
    source.authority_score,
    source.is_active,
    source.check_frequency_hours,
    source.metadata,
    health.status as health_status,
    health.message as health_message,
    health.last_success_at,
    health.last_error_at,
    health.failing_since,
    health.next_check_at,
    source.created_at,
    source.updated_at
from zeke.sources as source
left join zeke.source_health as health on source.id = health.source_id;

create view zeke.v1_items as
select
    item.id,
    item.source_id,
    item.external_id,
    item.kind,
    item.url,
    item.title,
    item.published_at,
    item.status,
    item.attempts,
    item.error,
    item.metadata,
    content.text,
    content.language,
    content.html_url,
    content.pdf_url,
    content.audio_url,
    content.transcript_vtt,
    content.duration_seconds,
    content.view_count,
    story.id as story_id,
    item.created_at,
    item.updated_at
from zeke.raw_items as item
left join zeke.contents as content on item.id = content.raw_item_id
left join lateral (
    select told.id
    from zeke.stories as told
    where told.content_hash = content.content_hash or told.content_id = content.raw_item_id
    order by told.content_hash = content.content_hash desc
    limit 1
) as story on true
-- A deleted item may leave its identity behind, so that its source does not bring it again.
where item.status <> 'deleted';

create view zeke.v1_stories as
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
    coalesce(overlay.analysis_state, 'pending') as analysis_state
from zeke.stories as story
left join zeke.story_overlays as overlay on story.id = overlay.story_id;

create view zeke.v1_briefs as
select
    story_id,
    brief_one_liner as one_liner,
    brief_two_liner as two_liner,
    brief_elevator as elevator,
    time_saved_seconds,
    brief_state as state,
    briefed_at
from zeke.story_overlays
where brief_state is not null;

create view zeke.v1_highlights as
select
    highlight.id,
    highlight.story_id,
    highlight.team_id,
    highlight.kind,
    highlight.title,
    highlight.summary,
    highlight.quote,
    highlight.key,
    highlight.confidence,
    highlight.origin,
    highlight.created_by,
    highlight.metadata,
    highlight.score,
    highlight.score_matches,
    highlight.score_breakdown,
    highlight.scored_at,
    highlight.created_at,
    highlight.updated_at,
    array(
        select tagged.tag from zeke.highlight_tags as tagged
        where tagged.highlight_id = highlight.id
        order by tagged.tag collate "C"
    ) as tags,
    array(
        select reference.url from zeke.highlight_references as reference
        where reference.highlight_id = highlight.id
        order by reference.url collate "C"
    ) as urls
from zeke.highlights as highlight;

create view zeke.v1_playbook_runs as
select
    run.id,
    run.team_id,
    run.playbook_id,
    playbook.name as playbook_name,
    run.trigger_source,
    run.triggered_by,
    run.metadata,
    run.status,
    run.resumed,
    run.outputs,
    run.error,
    run.started_at,
    run.ended_at,
    run.created_at,
    run.updated_at
from zeke.playbook_runs as run
inner join zeke.playbooks as playbook on run.playbook_id = playbook.id;

create view zeke.v1_spending as
select
    (spent.created_at at time zone 'UTC')::date as day,
    null::uuid as team_id,
    spent.task,
    spent.model,
    count(*) as calls,
    sum(spent.input_tokens)::bigint as input_tokens,
    sum(spent.output_tokens)::bigint as output_tokens,
    coalesce(sum(spent.cost_usd::numeric), 0)::numeric(20, 10) as dollars,
    count(*) filter (where spent.cost_usd is null) as unpriced_calls
from zeke.ai_spending as spent
group by (spent.created_at at time zone 'UTC')::date, spent.task, spent.model;

create view zeke.v1_subscriptions as
select
    team_id,
    source_id,
    created_at
from zeke.source_connections;

create view zeke.v1_story_states as
select
    team_id,
    story_id,
    state,
    last_viewed_at,
    updated_at
from zeke.team_story_states;

create view zeke.v1_highlight_states as
select
    team_id,
    highlight_id,
    pinned,
    dismissed,
    created_at
from zeke.team_highlight_states;
