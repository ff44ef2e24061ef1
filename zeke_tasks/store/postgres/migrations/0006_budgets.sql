-- What the AI may cost a team in a day, and what it has cost: each call is reserved at its highest price
-- before it is made, so that workers can't exceed a budget together.

-- The team for which a job runs; null is no team.
alter table zeke.ai_spending add column team_id uuid;

create index ai_spending_created on zeke.ai_spending (created_at);

-- Budgets that differ from ZEKE_AI_BUDGET; null dollars are no limit.
create table zeke.ai_budgets (
    team_id uuid,
    dollars numeric(20, 10) check (dollars >= 0),
    changed_at timestamptz not null,
    unique nulls not distinct (team_id)
);

-- Dollars of a team's calls on a day: of those that have ended, and of those that are reserved.
create table zeke.ai_budget_days (
    team_id uuid,
    day date not null,
    used numeric(20, 10) not null check (used >= 0),
    unique nulls not distinct (team_id, day)
);

-- Calls that were not settled: they are in progress, or their worker was killed. What such a call has cost is
-- not known, so it stays and counts at its highest price.
create table zeke.ai_reservations (
    job_id uuid not null,
    attempt integer not null check (attempt >= 0),
    purpose text not null,
    task text not null,
    model text not null,
    team_id uuid,
    day date not null,
    dollars numeric(20, 10) not null check (dollars >= 0),
    reserved_at timestamptz not null,
    primary key (job_id, attempt, purpose, day)
);

create index ai_reservations_day on zeke.ai_reservations (day);

create or replace view zeke.v1_spending as
select
    (spent.created_at at time zone 'UTC')::date as day,
    spent.team_id,
    spent.task,
    spent.model,
    count(*) as calls,
    sum(spent.input_tokens)::bigint as input_tokens,
    sum(spent.output_tokens)::bigint as output_tokens,
    coalesce(sum(spent.cost_usd::numeric), 0)::numeric(20, 10) as dollars,
    count(*) filter (where spent.cost_usd is null) as unpriced_calls
from zeke.ai_spending as spent
group by (spent.created_at at time zone 'UTC')::date, spent.team_id, spent.task, spent.model;
