"""Stories about who does it: credentials, practices, attackers, those who decide."""

from __future__ import annotations

from tests.scenarios.telling import (
    ANY,
    HOUR,
    MINUTE,
    READ,
    SOURCE,
    SUCCESS,
    Line,
    Story,
    base,
    becomes,
    found,
    many,
    published,
    read,
    reads,
    request,
)

TEN = "30 patients in ten minutes"
THIRTY = [READ, many(TEN, 30, "10m")]
FORTY_REFUSED = "40 answers that there is nothing, or not for you"


def _by_time(*parts: list[Line]) -> list[Line]:
    return sorted((line for part in parts for line in part), key=lambda line: line["time"])


STORIES = [
    Story(
        "key_shared_by_two_systems",
        "Two systems use one key: each reads less than the limit, the key reads more.",
        THIRTY,
        _by_time(
            reads(16, 0, 20, client_ip="192.0.2.1", gateway="north"),
            reads(16, 7, 20, first=100, client_ip="198.51.100.9", gateway="south"),
        ),
        [found(TEN, 7 + 14 * 20, 30, 30)],
    ),
    Story(
        "morning_peak",
        "A Monday morning in a hospital: 40 accounts read 29 patients each within ten minutes, 1,160 in\n"
        "all. Nobody is above the limit of one account, and nobody is found.",
        THIRTY,
        _by_time(
            *(reads(29, number / 2, 20, f"account-{number}", first=29 * number) for number in range(40))
        ),
    ),
    Story(
        "two_realms_one_id",
        "`partner-1` of two gateways with different directories are two credentials, each with its count.",
        THIRTY,
        _by_time(
            reads(20, 0, 5, realm="kong-eu"),
            reads(20, 1, 5, first=100, realm="kong-us"),
            reads(10, 120, 5, first=200, realm="kong-us"),
        ),
        [found(TEN, 165, 30, 30, subject="kong-us/partner-1")],
    ),
    Story(
        "one_answer_many_patients",
        "A search answers with 12 patients at once: each counts, the event only carries them. The third\n"
        "answer brings the 30th.",
        THIRTY,
        [
            request(
                60 * number,
                tenant="practice-1",
                patients=[{"patient": f"p{12 * number + place}"} for place in range(12)],
            )
            for number in range(4)
        ],
        [found(TEN, 120, 30, 36, tenants=1)],
    ),
    Story(
        "one_patient_many_credentials",
        "Ten different accounts open the record of one patient within an hour; the curious colleagues of a\n"
        "known person. The finding is about the patient. One account that opens it ten times is its doctor.",
        [READ, many("10 credentials for one patient", 10, "1h", of="principal", per=("patient",))],
        [
            *(read(number, "doctor's", "doctor") for number in range(10)),
            *(read(60 * number, "known", f"account-{number}") for number in range(12)),
        ],
        [found("10 credentials for one patient", 9 * MINUTE, 10, 1, subject="known")],
    ),
    Story(
        "many_practices",
        "A partner reads one patient in each of 20 practices: nothing that a limit of patients sees.",
        [READ, many("15 practices in an hour", 15, "1h", of="tenant")],
        [read(30 * number, number, tenant=f"practice-{number}") for number in range(20)],
        [found("15 practices in an hour", 14 * 30, 15, 15, tenants=15)],
    ),
    Story(
        "per_practice",
        "The limit is per practice here: 30 patients of each of two practices are no excess, the 40th of\n"
        "one is.",
        [READ, many("40 patients of one practice", 40, "1h", per=("principal", "tenant"))],
        [
            *reads(30, 0, 2, tenant="practice-1"),
            *reads(30, 100, 2, first=30, tenant="practice-2"),
            *reads(12, 200, 2, first=60, tenant="practice-2"),
        ],
        [found("40 patients of one practice", 218, 40, 70, tenants=2)],
    ),
    Story(
        "class_of_credential",
        "The nightly synchronisation reads 200 patients an hour by its nature. Its class has a limit of its\n"
        "own instead of an exception: it is found as well, only later.",
        [
            base(
                "A read by a partner",
                "read",
                "success and not bulk",
                success=SUCCESS,
                bulk={"principal_class": "bulk-sync"},
            ),
            base("A read by a synchronisation", "sync", one={**SUCCESS, "principal_class": "bulk-sync"}),
            many("30 patients in an hour", 30, "1h"),
            many("200 patients in an hour by a synchronisation", 200, "1h", rules=("sync",)),
        ],
        [
            {"options": {"classes": {"r/sync-1": "bulk-sync", "r/partner-1": "partner"}}},
            *_by_time(reads(31, 0.5, 1), reads(205, 0, 1, "sync-1")),
        ],
        [
            found("30 patients in an hour", 29.5, 30, 30),
            found("200 patients in an hour by a synchronisation", 199, 200, 200, subject="r/sync-1"),
        ],
    ),
    Story(
        "two_ways_to_read",
        "A patient's record can be read itself, or as part of an export that only names the record. An\n"
        "alias makes them one count.",
        [
            base("A patient is read", "read", one={"route": "/patients/*"}),
            base("A record is exported", "export", one={"route": "/export/*"}),
            many(
                "20 of either in ten minutes",
                20,
                "10m",
                of="what",
                rules=("read", "export"),
                aliases={"what": {"read": "patient", "export": "object"}},
            ),
        ],
        _by_time(
            reads(12, 0, 2, route="/patients/{id}"),
            [request(1 + 2 * number, object=f"r{number}", route="/export/{id}") for number in range(12)],
        ),
        [found("20 of either in ten minutes", 19, 20, 10)],
    ),
    Story(
        "forged_client_id",
        "Somebody without a key sends the id of a partner. The gateway did not verify it, so nothing counts\n"
        "against the partner; nor does a 401, whatever the gateway says of it.",
        [ANY, many("20 requests in a minute", 20, "1m", of=None, rules=("any",))],
        [
            *(request(number, authenticated=False, status=403) for number in range(25)),
            *(request(30 + number, status=401) for number in range(25)),
        ],
    ),
    Story(
        "storm_of_401",
        "Requests without a valid key, 25 in a minute from one address: keys are tried. The finding is\n"
        "about the address, and no partner is touched.",
        [
            base("A key is refused", "refused", one={"status": 401}),
            many(
                "25 refused keys from one address", 25, "1m", of=None, per=("client_ip",), rules=("refused",)
            ),
        ],
        _by_time(
            [request(2 * number, "partner-1", 401, client_ip="192.0.2.7") for number in range(25)],
            [request(2 * number, None, 401, client_ip="192.0.2.8") for number in range(24)],
            [request(2 * number, None, 200, client_ip="192.0.2.8") for number in range(24)],
        ),
        [found("25 refused keys from one address", 48, 25, 0, subject="192.0.2.7")],
    ),
    Story(
        "enumeration",
        "Ids are tried one after the other: most answers are 404, some 403. The few that hit are reads.",
        [
            base("There is nothing, or not for you", "missed", one={"status": [403, 404]}),
            many(FORTY_REFUSED, 40, "10m", of=None, rules=("missed",)),
        ],
        [
            request(number, status=200, patient=f"p{number}")
            if number % 10 == 9
            else request(number, status=404 if number % 3 else 403, object=f"o{number}")
            for number in range(60)
        ],
        [found(FORTY_REFUSED, 43, 40, 4)],
    ),
    Story(
        "refused_and_goes_on",
        "A suspended credential tries on, and the gateway refuses it with 403. The monitor's own refusals\n"
        "count for no rule: otherwise each suspension would look like an enumeration.",
        [
            *THIRTY,
            base("There is nothing, or not for you", "missed", one={"status": [403, 404]}),
            many(FORTY_REFUSED, 40, "10m", of=None, rules=("missed",)),
        ],
        [
            *reads(30, 0, 1),
            becomes(31, "suspended"),
            *(request(32 + number, status=403) for number in range(100)),
        ],
        [found(TEN, 29, 30, 30)],
    ),
    Story(
        "the_block_leaks",
        "A credential is suspended, but its gateway lets it read on. That counts: it is found again where\n"
        "the rule's latch opens, after a pause, with what it read since.",
        THIRTY,
        [
            *reads(30, 0, 1),
            becomes(31, "suspended"),
            *reads(20, 40, 1, first=100),
            *reads(30, 30 * MINUTE, 1, first=200),
        ],
        [found(TEN, 29, 30, 30), found(TEN, 30 * MINUTE + 29, 30, 30)],
    ),
    Story(
        "suspension_ends_while_the_attack_goes_on",
        "The suspension ends by itself after an hour. The client never stopped: it was refused, and reads\n"
        "again from that second on. It is found a second time, after as many patients as the first time.",
        THIRTY,
        [
            *reads(32, 0, 2),
            becomes(64, "suspended"),
            *(request(66 + 40 * number, status=403) for number in range(88)),
            becomes(HOUR + 64, "active"),
            *reads(40, HOUR + 66, 2, first=500),
        ],
        [found(TEN, 58, 30, 30), found(TEN, HOUR + 66 + 58, 30, 30)],
    ),
    Story(
        "reinstated_credential",
        "A partner was cut off and is let in again by a person after half an hour. It works as always,\n"
        "and nothing is found; a new excess is a new finding.",
        THIRTY,
        [
            *reads(30, 0, 1),
            becomes(40, "suspended"),
            becomes(30 * MINUTE, "active"),
            *reads(25, 31 * MINUTE, 60, first=100),
            *reads(30, 90 * MINUTE, 1, first=200),
        ],
        [found(TEN, 29, 30, 30), found(TEN, 90 * MINUTE + 29, 30, 30)],
    ),
    Story(
        "reinstated_at_once",
        "A credential is suspended and made active within its window, while it reads on. Its latch is open\n"
        "again, so the next read is a finding again: it does not have to fall silent first.",
        THIRTY,
        [
            *reads(30, 0, 1),
            becomes(31, "suspended"),
            becomes(40, "active"),
            *reads(5, 41, 1, first=100),
        ],
        [found(TEN, 29, 30, 30), found(TEN, 41, 30, 31)],
    ),
    Story(
        "limit_lowered_in_the_attack",
        "An attack stays below 60 patients in ten minutes. The limit is lowered to 30 while it goes on: what\n"
        "was counted stays, so the very next read is found, after 41 patients and not after 30 more.",
        [READ, many("Too many patients in ten minutes", 60, "10m")],
        [*reads(40, 0, 2), published(81, "lowered.yml"), *reads(4, 82, 2, first=100)],
        [found("Too many patients in ten minutes", 82, 30, 41)],
        {"lowered.yml": [READ, many("Too many patients in ten minutes", 30, "10m")]},
    ),
    Story(
        "limit_raised",
        "The limit is raised from 60 to 80 after 40 reads. They still count; but a window that held 60 at\n"
        "most may have missed some of 80, so a finding within its first ten minutes says that it warms.",
        [READ, many("Too many patients in ten minutes", 60, "10m")],
        [
            *reads(40, 0, 1),
            published(41, "raised.yml"),
            *reads(40, 42, 1, first=100),
            *reads(80, HOUR, 1, first=200),
        ],
        [
            found("Too many patients in ten minutes", 81, 80, 80, warming=True),
            found("Too many patients in ten minutes", HOUR + 79, 80, 80),
        ],
        {"raised.yml": [READ, many("Too many patients in ten minutes", 80, "10m")]},
    ),
    Story(
        "new_rule_warms_up",
        "A rule of practices is new in the middle of the day. It counts from then on, and until a timespan\n"
        "has passed its findings say so; the old rule goes on as if nothing were.",
        THIRTY,
        [
            *reads(20, 0, 1, tenant="practice-1"),
            published(21, "more.yml"),
            *(read(22 + number, 100 + number, tenant=f"practice-{number}") for number in range(12)),
            *(read(HOUR + number, 200 + number, tenant=f"practice-{number}") for number in range(12)),
        ],
        [
            found(TEN, 31, 30, 30, tenants=10),
            found("10 practices in ten minutes", 31, 10, 30, tenants=10, warming=True),
            found("10 practices in ten minutes", HOUR + 9, 10, 10, tenants=10),
        ],
        {"more.yml": [*THIRTY, many("10 practices in ten minutes", 10, "10m", of="tenant")]},
    ),
    Story(
        "allow_list_ends",
        "Somebody allowed a migration until 09:00. What is read before nine is not counted for this rule;\n"
        "nine sharp is, and it goes on: 30 reads later it is found.",
        [
            *THIRTY,
            (
                "The migration is known",
                {
                    "owner": "Integration team",
                    "expires": "2026-03-02T09:00:00Z",
                    "logsource": SOURCE,
                    "filter": {
                        "rules": ["read"],
                        "migration": {"principal": "partner-1"},
                        "condition": "not migration",
                    },
                },
            ),
        ],
        reads(150, 2 * HOUR - 100, 1),
        [found(TEN, 2 * HOUR + 29, 30, 130)],
    ),
]
