"""The made-up register: complete, the same for the same seed, and nobody real."""

from __future__ import annotations

from itertools import pairwise

import pytest
from aiohttp import ClientSession

from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import APPOINTMENTS, FIRST_ID, PATIENTS, make_register


def test_has_as_many_appointments_as_went_in_2020():
    register = make_register(1)
    assert len(register.appointments) == APPOINTMENTS == 6_128
    assert register.patients == PATIENTS
    assert len(register.practices) == 12
    assert list(register.appointments) == list(range(FIRST_ID, FIRST_ID + APPOINTMENTS))


def test_a_seed_makes_the_same_register_and_another_seed_another():
    assert make_register(3).appointments == make_register(3).appointments
    assert make_register(3).appointments != make_register(4).appointments


def test_nobody_in_it_can_be_called_or_written_to():
    fictional = ("01 99 00", "02 61 91", "03 53 01", "04 65 71", "05 36 49", "06 39 98")
    for appointment in make_register(1).appointments.values():
        assert appointment.patient.phone.startswith(fictional)
        assert appointment.patient.email.endswith("@example.com")


def test_a_practice_sees_one_patient_at_a_time():
    register = make_register(1)
    for practice in register.practices:
        times = [appointment.starts_at for appointment in register.of_practice(practice.id)]
        assert times
        assert all(one < next_ for one, next_ in pairwise(times))


@pytest.fixture
async def api():
    async with (
        AppointmentsApi(make_register(1)) as api,
        ClientSession(f"http://127.0.0.1:{api.port}") as http,
    ):
        yield http


async def test_an_appointment_names_its_patient_and_practice_in_headers(api: ClientSession):
    expected = make_register(1).appointments[FIRST_ID]
    async with api.get(f"/appointments/{FIRST_ID}") as answer:
        body = await answer.json()
    assert answer.status == 200
    assert body["patient"]["id"] == answer.headers["x-patient-id"] == expected.patient.id
    assert answer.headers["x-tenant-id"] == expected.practice.id
    assert answer.headers["x-object-id"] == f"appointment-{FIRST_ID}"
    assert body["specialty"] == expected.specialty


async def test_a_calendar_names_no_patient(api: ClientSession):
    async with api.get("/practices/practice-2/appointments") as answer:
        body = await answer.json()
    assert answer.headers["x-record-count"] == str(len(body)) == "24"
    assert "x-patient-id" not in answer.headers
    assert all(set(entry) == {"id", "starts_at"} for entry in body)


@pytest.mark.parametrize(
    "path",
    [
        "/appointments/1",
        "/appointments/-1",
        "/appointments/%D9%A1",
        "/appointments/1e5",
        "/practices/x/appointments",
    ],
)
async def test_what_is_not_there_is_not_found(api: ClientSession, path: str):
    async with api.get(path) as answer:
        assert answer.status == 404
        assert "x-patient-id" not in answer.headers
