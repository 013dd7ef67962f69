"""Schedules: how a recurrence may run, apart from what it computes."""
