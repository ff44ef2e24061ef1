with told as (
    select id from zeke.stories
    where id = %(story_id)s
    for no key update
)

insert into zeke.team_story_states as known (team_id, story_id, state, last_viewed_at, updated_at)
select
    team.id,
    told.id,
    %(state)s,
    case when %(state)s = 'read' then clock.now end,
    clock.now
from told
cross join unnest(%(team_ids)s::uuid[]) as team (id)
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
order by team.id
on conflict (team_id, story_id) do update
set
    state = excluded.state,
    last_viewed_at = coalesce(excluded.last_viewed_at, known.last_viewed_at),
    updated_at = excluded.updated_at
where known.state is distinct from excluded.state
returning team_id
