"""Rules as people write them (Sigma YAML), read into the core's plain form."""

from monitor.rulebook.loader import LoadedRules, load_rules
from monitor.rulebook.patterns import compile_pattern

__all__ = ["LoadedRules", "compile_pattern", "load_rules"]
