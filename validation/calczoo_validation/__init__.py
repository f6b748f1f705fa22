"""calczoo_validation: what a potential says about a crystal, with error bars, statuses and reference values."""

from .engine import EvaluationError, Evaluator
from .registry import Context, Property, all_properties
from .relax import relax
from .report import ModelReport, Report
from .results import PropertyFailure, PropertyResult, Status, Value
from .runner import validate
from .structures import parse_proto

__all__ = [
    "Context", "EvaluationError", "Evaluator", "ModelReport", "Property", "PropertyFailure", "PropertyResult", "Report",
    "Status", "Value", "all_properties", "parse_proto", "relax", "validate",
]  # fmt: skip
