"""The appointments that the demo's attacker is after. Nobody in here exists.

Telephone numbers are of the ranges that ARCEP keeps for fiction, addresses of example.com.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: As many as were taken out of a French booking platform in July 2020.
APPOINTMENTS: Final = 6_128
PATIENTS: Final = 4_871
FIRST_ID: Final = 100_001

_FIRST_DAY: Final = datetime(2020, 7, 21, 8, 0, tzinfo=UTC)
_SLOT: Final = timedelta(minutes=20)
_SLOTS_A_DAY: Final = 24
_TOWNS: Final = (
    "Bourg-Exemple", "Villefictive", "Saint-Modèle", "Montspécimen", "Port-Essai", "Châteautest",
    "Rivenulle", "Laplace-Vide", "Beaufaux", "Clairmaquette", "Valprototype", "Fontébauche",
)  # fmt: skip
_SPECIALTIES: Final = (
    "General practice", "Cardiology", "Dermatology", "Gynaecology", "Oncology", "Paediatrics", "Psychiatry",
)  # fmt: skip
_GIVEN: Final = (
    "Ada", "Anselme", "Berthe", "Cyprien", "Delphine", "Edgar", "Flore", "Gaspard", "Hortense", "Isidore",
    "Jacinthe", "Léonce", "Mathilde", "Nestor", "Odile", "Prosper", "Quitterie", "Raoul", "Sidonie", "Tancrède",
)  # fmt: skip
_FAMILY: Final = (
    "Exemple", "Factice", "Fictif", "Illusoire", "Imaginaire", "Inventé", "Maquette", "Modèle", "Personne",
    "Pseudonyme", "Quidam", "Spécimen",
)  # fmt: skip
_PHONE_RANGES: Final = ("01 99 00", "02 61 91", "03 53 01", "04 65 71", "05 36 49", "06 39 98")


@dataclass(frozen=True, slots=True)
class Practice:
    """A practice, which owns its appointments."""

    id: str
    name: str
    doctors: tuple[tuple[str, str], ...]  # name, specialty


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient; a practice books for several, a patient may have several appointments."""

    id: str
    name: str
    phone: str
    email: str


@dataclass(frozen=True, slots=True)
class Appointment:
    """One appointment: the record that the API gives away."""

    id: int
    practice: Practice
    patient: Patient
    doctor: str
    specialty: str
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Register:
    """All appointments, by id in the order of their ids."""

    practices: Sequence[Practice]
    appointments: Mapping[int, Appointment]

    def of_practice(self, practice: str) -> list[Appointment]:
        """Return the appointments of a practice, the earliest first."""
        return [one for one in self.appointments.values() if one.practice.id == practice]

    @property
    def patients(self) -> int:
        """How many different patients there are."""
        return len({one.patient.id for one in self.appointments.values()})


def make_register(seed: int, *, appointments: int = APPOINTMENTS, patients: int = PATIENTS) -> Register:
    """Return a register that is the same for the same seed; `patients` is at most `appointments`."""
    rng = random.Random(seed)
    practices = tuple(_practice(rng, number, town) for number, town in enumerate(_TOWNS, 1))
    people = [_patient(rng, number) for number in range(1, patients + 1)]
    # Each patient comes at least once; who comes again, and when, is chance.
    booked = people + rng.choices(people, k=appointments - patients)
    rng.shuffle(booked)
    taken = dict.fromkeys(practices, 0)
    made = {}
    for number, patient in enumerate(booked, FIRST_ID):
        practice = rng.choice(practices)
        day, slot = divmod(taken[practice], _SLOTS_A_DAY)
        taken[practice] += 1
        starts_at = _FIRST_DAY + timedelta(days=day) + slot * _SLOT
        doctor, specialty = rng.choice(practice.doctors)
        made[number] = Appointment(number, practice, patient, doctor, specialty, starts_at)
    return Register(practices, made)


def _practice(rng: random.Random, number: int, town: str) -> Practice:
    doctors = tuple(
        (f"Dr {rng.choice(_GIVEN)} {rng.choice(_FAMILY)}", rng.choice(_SPECIALTIES)) for _ in range(3)
    )
    return Practice(f"practice-{number}", f"Cabinet médical de {town}", doctors)


def _patient(rng: random.Random, number: int) -> Patient:
    phone = f"{rng.choice(_PHONE_RANGES)} {rng.randrange(100):02} {rng.randrange(100):02}"
    name = f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}"
    return Patient(f"p-{number:05}", name, phone, f"patient{number}@example.com")
