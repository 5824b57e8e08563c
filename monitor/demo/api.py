"""The appointments API behind the gateway.

It has the flaw that was used in 2020: whoever has any key may read any appointment. What it does
right is to tell the gateway, in headers that end there, whose record it sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from typing import Self

    from monitor.demo.appointments import Appointment, Register

OBJECT_HEADER: Final = "x-object-id"
PATIENT_HEADER: Final = "x-patient-id"
TENANT_HEADER: Final = "x-tenant-id"
COUNT_HEADER: Final = "x-record-count"
_LISTED: Final = 24


class AppointmentsApi:
    """Listens on a loopback port while its context is entered; `port` is which."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_get("/appointments/{id}", self._appointment)
        app.router.add_get("/practices/{id}/appointments", self._appointments_of)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _appointment(self, request: web.Request) -> web.Response:
        text = request.match_info["id"]
        # `isdecimal` takes the digits of every script, and `int` reads them; ids are ours.
        appointment = (
            self._register.appointments.get(int(text)) if text.isascii() and text.isdecimal() else None
        )
        if appointment is None:
            return _answer({"error": "not_found"}, status=404)
        headers = {
            OBJECT_HEADER: f"appointment-{appointment.id}",
            PATIENT_HEADER: appointment.patient.id,
            TENANT_HEADER: appointment.practice.id,
            COUNT_HEADER: "1",
        }
        return _answer(_as_json(appointment), headers)

    async def _appointments_of(self, request: web.Request) -> web.Response:
        """List ids and times of a practice's first appointments: a calendar, without patients."""
        practice = request.match_info["id"]
        listed = self._register.of_practice(practice)[:_LISTED]
        if not listed:
            return _answer({"error": "not_found"}, status=404)
        body = [{"id": one.id, "starts_at": one.starts_at.isoformat()} for one in listed]
        return _answer(body, {TENANT_HEADER: practice, COUNT_HEADER: str(len(listed))})


def _as_json(appointment: Appointment) -> dict[str, object]:
    patient = appointment.patient
    return {
        "id": appointment.id,
        "practice": appointment.practice.name,
        "starts_at": appointment.starts_at.isoformat(),
        "doctor": appointment.doctor,
        "specialty": appointment.specialty,
        "patient": {
            "id": patient.id,
            "name": patient.name,
            "phone": patient.phone,
            "email": patient.email,
        },
    }


def _answer(body: object, headers: dict[str, str] | None = None, *, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )
