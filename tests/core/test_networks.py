"""Which addresses lie in a network."""

from __future__ import annotations

import ipaddress

import pytest

from monitor.core.conditions import within


@pytest.mark.parametrize(
    ("network", "text", "expected"),
    [
        ("192.0.2.0/24", "192.0.2.0", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/24", "::192.0.2.7", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("::/0", "192.0.2.7", False),
        ("0.0.0.0/0", "unknown", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_an_address_lies_in_a_network_or_not(network: str, text: str, *, expected: bool) -> None:
    assert within(ipaddress.ip_network(network), text) is expected
