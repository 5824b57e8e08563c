"""What adapters that speak HTTP have in common: faults of the network and of the gateway are outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Refused, Retry, Seen, Traits
from monitor.response.outbound import Answer, NoAnswerError, Outbound, UnexpectedAnswerError, UnfitError
from monitor.response.secret_file import SecretError, SecretFile

if TYPE_CHECKING:
    from monitor.settings.adapters import HttpAdapterSettings


#: What comes of an answer whose JSON is not what the gateway's documentation says.
_ODD: Final = (KeyError, TypeError, AttributeError, ValueError)


class HttpAdapter:
    """An adapter whose methods may raise what `outbound` has, and SecretError.

    A subclass has `traits`, `_tell`, `_read` and `_probe`.
    """

    traits: Traits
    #: What it proves itself with, if anything; it must be usable when the enforcer starts.
    secret: SecretFile[Any] | None = None

    def __init__(self, settings: HttpAdapterSettings) -> None:
        self.name = settings.name
        self._http = Outbound(
            settings.url,
            timeout=settings.timeout,
            limit=settings.concurrency + 1,
            private_addresses=settings.private_addresses,
            ca_file=settings.ca_file,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    async def tell(self, wanted: DesiredState) -> Outcome:
        """Tell the gateway once."""
        try:
            return await self._tell(wanted)
        except NoAnswerError as error:
            return Retry(str(error))
        except UnexpectedAnswerError as error:
            return Retry(str(error), error.answer.retry_after)
        except SecretError as error:
            return Retry(f"its secret {error}")
        except UnfitError as error:
            return Refused(str(error))
        except _ODD as error:
            return Retry(f"the gateway's answer is not understood ({type(error).__name__})")

    async def read_back(self, wanted: DesiredState) -> Seen | None:
        """Return what the gateway says of the credential; None where it cannot be asked (now)."""
        try:
            return await self._read(wanted)
        except (NoAnswerError, UnexpectedAnswerError, SecretError, UnfitError, *_ODD):
            return None

    async def probe(self) -> list[str]:
        """Return what keeps this adapter from doing its work."""
        try:
            return await self._probe()
        except (NoAnswerError, UnexpectedAnswerError, UnfitError) as error:
            return [str(error)]
        except SecretError as error:
            return [f"its secret {error}"]
        except _ODD as error:
            return [f"the gateway's answer is not understood ({type(error).__name__})"]

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _tell(self, wanted: DesiredState) -> Outcome:
        raise NotImplementedError

    async def _read(self, wanted: DesiredState) -> Seen | None:
        raise NotImplementedError

    async def _probe(self) -> list[str]:
        raise NotImplementedError


def expect(answer: Answer, *statuses: int) -> Answer:
    """Return the answer where it is a 2xx or one of `statuses`; raises UnexpectedAnswerError otherwise."""
    if answer.ok or answer.status in statuses:
        return answer
    raise UnexpectedAnswerError(answer)


def document(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer; raises UnexpectedAnswerError where it is none."""
    found = answer.json()
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(answer)
    return found


GONE = Accepted("the gateway does not know this credential")
