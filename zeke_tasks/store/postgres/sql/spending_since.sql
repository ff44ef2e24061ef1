select
    call.team_id,
    call.task,
    call.model,
    count(*) filter (where call.held is null) as calls,
    coalesce(sum(call.input_tokens), 0)::bigint as input_tokens,
    coalesce(sum(call.output_tokens), 0)::bigint as output_tokens,
    coalesce(sum(round(call.cost_usd::numeric, 10)), 0) as dollars,
    count(*) filter (where call.held is null and call.cost_usd is null) as unpriced,
    count(call.held) as open,
    coalesce(sum(call.held), 0) as held
from (
    select
        spent.team_id,
        spent.task,
        spent.model,
        spent.input_tokens,
        spent.output_tokens,
        spent.cost_usd,
        null::numeric as held
    from zeke.ai_spending as spent
    where spent.created_at >= %(since)s
    union all
    select
        reservation.team_id,
        reservation.task,
        reservation.model,
        null as input_tokens,
        null as output_tokens,
        null as cost_usd,
        reservation.dollars as held
    from zeke.ai_reservations as reservation
    where reservation.reserved_at >= %(since)s
) as call
group by call.team_id, call.task, call.model
order by call.team_id nulls first, call.task collate "C", call.model collate "C"
