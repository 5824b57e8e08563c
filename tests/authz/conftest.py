"""What all tests of the decision service share."""

from __future__ import annotations

from tests.authz.test_service import asked  # noqa: F401 - a fixture
