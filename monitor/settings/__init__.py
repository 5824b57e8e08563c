"""All settings: one YAML file, environment overrides, read strictly, all faults at once."""

from monitor.settings.loading import load_operator_settings, load_settings, origin_of, setting_paths
from monitor.settings.models import (
    AuthzSettings,
    CredentialsSettings,
    DetectSettings,
    KafkaSettings,
    ObserveSettings,
    OperatorSettings,
    PrivacySettings,
    ResponseSettings,
    Role,
    RulesSettings,
    Settings,
    SourceSettings,
    WebhookSettings,
    WorkerSettings,
)

__all__ = [
    "AuthzSettings",
    "CredentialsSettings",
    "DetectSettings",
    "KafkaSettings",
    "ObserveSettings",
    "OperatorSettings",
    "PrivacySettings",
    "ResponseSettings",
    "Role",
    "RulesSettings",
    "Settings",
    "SourceSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load_operator_settings",
    "load_settings",
    "origin_of",
    "setting_paths",
]
