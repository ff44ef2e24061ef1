"""Playbooks: series of tasks that a team runs as one."""
