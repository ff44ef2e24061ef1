"""What an application holds: the queue, its transactions and the administration of jobs."""
