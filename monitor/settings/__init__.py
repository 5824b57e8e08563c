"""All settings: one YAML file, environment overrides, read strictly, all faults at once."""

from monitor.settings.adapters import (
    AdapterSettings,
    ApisixSettings,
    HaproxySettings,
    KeycloakSettings,
    KongSettings,
    TykSettings,
    WebhookSettings,
)
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
    WorkerSettings,
)

__all__ = [
    "AdapterSettings",
    "ApisixSettings",
    "AuthzSettings",
    "CredentialsSettings",
    "DetectSettings",
    "HaproxySettings",
    "KafkaSettings",
    "KeycloakSettings",
    "KongSettings",
    "ObserveSettings",
    "OperatorSettings",
    "PrivacySettings",
    "ResponseSettings",
    "Role",
    "RulesSettings",
    "Settings",
    "SourceSettings",
    "TykSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load_operator_settings",
    "load_settings",
    "origin_of",
    "setting_paths",
]
