"""No metric for nothing: each is on a dashboard, in an alert, or listed for questions asked once."""

from __future__ import annotations

from monitor.observe.metrics import Metrics
from tests.observe.ad_hoc import AD_HOC
from tests.observe.test_alerts import metrics_of
from tests.observe.test_dashboards import everything


def test_every_metric_of_the_catalogue_is_used_or_listed_for_ad_hoc_use():
    used = {name for expression in everything() for name in metrics_of(expression)}
    known = {described.name for described in Metrics().catalogue}
    left = sorted(known - used - AD_HOC.keys())
    assert left == [], "give it a panel (grafana/*.py, then python grafana/build.py), an alert, or AD_HOC"
    assert sorted(AD_HOC.keys() & used) == []
    assert sorted(AD_HOC.keys() - known) == []
