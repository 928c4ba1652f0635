"""Jobs: what a store does by the clock, late rather than never, and by one of any number of processes."""

from __future__ import annotations

from storycore.jobs.declaration import Job, Run
from storycore.jobs.defaults import Upkeep
from storycore.jobs.jobs import Jobs, Status
from storycore.jobs.runner import Runner
from storycore.jobs.schedule import Schedule
from storycore.jobs.state import Outcome, RunRecord

__all__ = ["Job", "Jobs", "Outcome", "Run", "RunRecord", "Runner", "Schedule", "Status", "Upkeep"]
