"""Route templates: which patient, tenant and record a path names, and what goes on instead of it."""

from monitor.intake.routes.matcher import Match, Matcher
from monitor.intake.routes.templates import PACK_PREFIX, Template, read_routes

__all__ = ["PACK_PREFIX", "Match", "Matcher", "Template", "read_routes"]
