"""Clients of one Postgres; a seed orders their statements, and the results must be possible in memory."""
