"""Real processes on a real Postgres, which are killed, stopped and cut off, judged as a simulation is."""
