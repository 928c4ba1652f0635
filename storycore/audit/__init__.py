"""The audit trail: who read and wrote what, in a way that shows when it was changed.

``store.audit`` is an ``AuditTrail`` where the profile turns it on; ``acting`` says who acts.
"""

from __future__ import annotations

from storycore.audit.exporting import AuditExported
from storycore.audit.pruning import AuditPruned
from storycore.audit.records import AuditRecord
from storycore.audit.trail import AuditTrail
from storycore.audit.verifying import AuditFinding, AuditReport
from storycore.layers.acting import acting

__all__ = [
    "AuditExported",
    "AuditFinding",
    "AuditPruned",
    "AuditRecord",
    "AuditReport",
    "AuditTrail",
    "acting",
]
