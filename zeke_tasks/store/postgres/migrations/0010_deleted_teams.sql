-- Teams that were deleted. A job that was sent for one before, and runs later, finds it here and fails.
create table zeke.deleted_teams (
    team_id uuid primary key,
    deleted_at timestamptz not null
);

-- What the deletion of a team looks for.
create index ai_spending_team on zeke.ai_spending (team_id) where team_id is not null;

-- Runs that did not end, of which retention deletes those whose jobs are gone.
create index playbook_runs_open on zeke.playbook_runs (id) where ended_at is null;
