"""Verification checks in OpenKIM's sense, for any ASE calculator.

    from calczoo.verify import run_checks
    report = run_checks(lambda: EMT(), ["Cu"])
    print(report)

Each check is one file in `checks/` that defines `CHECK`; adding a check is adding a file.
"""

from .base import PROFILES, Check, CheckFailed, NotApplicable, Outcome, Tolerances, find_checks
from .context import Context
from .report import EPS, GRADES, CheckResult, VerificationReport, grade, worse
from .runner import DEFAULT_SEED, run_check, run_checks

CHECKS: dict[str, Check] = find_checks()

__all__ = [
    "CHECKS",
    "DEFAULT_SEED",
    "EPS",
    "GRADES",
    "PROFILES",
    "Check",
    "CheckFailed",
    "CheckResult",
    "Context",
    "NotApplicable",
    "Outcome",
    "Tolerances",
    "VerificationReport",
    "find_checks",
    "grade",
    "run_check",
    "run_checks",
    "worse",
]
