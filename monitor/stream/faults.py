"""Which failures pass by themselves: the one place that tells a broker's fault from a broken invariant.

After a fault that passes, a role forgets what it holds, leaves its group and joins again. That is the
path of a crash, so it is right whatever the fault was (docs/adr/0011-rejoin.md): to take a lasting fault
for a passing one costs some attempts, to take a passing one for a lasting costs a restart, and neither
costs a count.
"""

from __future__ import annotations

from typing import Final

from aiokafka import errors

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault, SendError

#: Why a role joins again, by what was raised; the first that fits. These are the values of a label.
_PASSING: Final[tuple[tuple[str, tuple[type[BaseException], ...]], ...]] = (
    # Another one holds our transactional id; or Kafka aborted a transaction that an outage kept open.
    ("fenced", (errors.ProducerFenced, errors.InvalidProducerEpoch, errors.TransactionCoordinatorFenced)),
    # The broker knows our producer no more, or lost what it had acknowledged: a new id begins anew.
    (
        "producer",
        (
            errors.OutOfOrderSequenceNumber,
            errors.UnknownProducerId,
            errors.InvalidProducerIdMapping,
            errors.InvalidTxnState,
        ),
    ),
    (
        "group",
        (
            errors.IllegalGenerationError,
            errors.UnknownMemberIdError,
            errors.RebalanceInProgressError,
            errors.CommitFailedError,
        ),
    ),
    ("timeout", (errors.KafkaTimeoutError, errors.RequestTimedOutError, TimeoutError)),
    # Credentials were right when the process started; brokers that start may not know them yet.
    ("authentication", (errors.AuthenticationFailedError, errors.SaslAuthenticationFailed)),
    (
        "unreachable",
        (
            errors.KafkaConnectionError,
            errors.NodeNotReadyError,
            errors.NoBrokersAvailable,
            errors.KafkaUnavailableError,
            BrokerUnavailableError,
            OSError,
        ),
    ),
)
_REFUSED: Final = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)


def passing_reason(error: BaseException) -> str | None:
    """Return why a role may join again after `error`, or None where the process must end."""
    if isinstance(error, SendError):
        return "unknown" if error.__cause__ is None else passing_reason(error.__cause__)
    for reason, kinds in _PASSING:
        if isinstance(error, kinds):
            return reason
    if isinstance(error, errors.KafkaError):
        # aiokafka raises plain ones where it says no more than that sending failed.
        plain = type(error) in {errors.KafkaError, errors.UnknownError}
        return "broker" if error.retriable or plain else None
    return None


def explained(error: BaseException) -> BaseException:
    """Return an error that says what to do, where `error` is Kafka's refusal; else `error` itself."""
    refusal = error.__cause__ if isinstance(error, SendError) else error
    if isinstance(refusal, _REFUSED):
        fault = Fault("kafka", type(refusal).__name__, "`monitor init --plan` prints the rights of each role")
        return ConfigurationError("Kafka refuses what this role needs", [fault])
    return error
