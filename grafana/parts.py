"""What dashboards are made of: panels on a grid of 24 columns, with one look for all of them."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION: Final = 39
GOOD, ODD, BAD, PLAIN = "green", "orange", "red", "blue"


def steps(*bounds: tuple[float | None, str]) -> Json:
    """Return thresholds: (from which value on, colour), the first one from None."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in bounds]}


NEUTRAL: Final = steps((None, PLAIN))
ZERO_IS_GOOD: Final = steps((None, GOOD), (1, BAD))
ONE_IS_GOOD: Final = steps((None, BAD), (1, GOOD))


def _targets(queries: tuple[str | tuple[str, str], ...], *, instant: bool) -> list[Json]:
    targets = []
    for number, query in enumerate(queries):
        expression, legend = (query, "") if isinstance(query, str) else query
        targets.append(
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "instant": instant,
                "range": not instant,
                **({"format": "table"} if instant and legend == "table" else {}),
            }
        )
    return targets


def stat(
    title: str,
    query: str,
    *,
    what: str,
    unit: str = "short",
    thresholds: Json = NEUTRAL,
    texts: dict[str, tuple[str, str]] | None = None,
    width: int = 4,
) -> Json:
    """Return one large number; `texts` replaces values by (words, colour)."""
    mappings = [
        {"type": "value", "options": {value: {"text": words, "color": colour, "index": index}}}
        for index, (value, (words, colour)) in enumerate((texts or {}).items())
    ]
    return {
        "type": "stat",
        "title": title,
        "description": what,
        "gridPos": {"w": width, "h": 4},
        "datasource": DATASOURCE,
        "targets": _targets((query,), instant=True),
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "decimals": 0 if unit == "short" else 2,
                "thresholds": thresholds,
                "mappings": mappings,
            },
            "overrides": [],
        },
        "options": {
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def graph(
    title: str,
    *queries: str | tuple[str, str],
    what: str,
    unit: str = "short",
    limit: float | None = None,
    stacked: bool = False,
    width: int = 12,
) -> Json:
    """Return lines over time; `limit` draws the value at which an alert looks."""
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 10,
        "showPoints": "never",
        "spanNulls": True,
    }
    if stacked:
        custom |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40}
    defaults: Json = {"unit": unit, "min": 0, "custom": custom}
    if limit is not None:
        defaults["thresholds"] = steps((None, "transparent"), (limit, BAD))
        custom["thresholdsStyle"] = {"mode": "line"}
    return {
        "type": "timeseries",
        "title": title,
        "description": what,
        "gridPos": {"w": width, "h": 8},
        "datasource": DATASOURCE,
        "targets": _targets(queries, instant=False),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def duration(
    title: str, query: str, *, what: str, bad: float, odd: float | None = None, width: int = 4
) -> Json:
    """Return seconds as one large number; it is red from `bad` seconds on, orange from `odd` on."""
    middle = () if odd is None else ((odd, ODD),)
    return stat(
        title, query, what=what, unit="s", thresholds=steps((None, GOOD), *middle, (bad, BAD)), width=width
    )


def trouble(title: str, query: str, *, what: str, none: str | None = None, width: int = 4) -> Json:
    """Return a number that should be 0, which `none` puts in words."""
    texts = None if none is None else {"0": (none, GOOD)}
    return stat(title, query, what=what, thresholds=ZERO_IS_GOOD, texts=texts, width=width)


def latency(title: str, metric: str, *, what: str, limit: float, width: int = 12) -> Json:
    """Return what half, and 99 %, of a histogram's values stayed below, in seconds; `limit` as in `graph`."""
    halves = ((quantile(0.5, metric), "half"), (quantile(0.99, metric), "99 %"))
    return graph(title, *halves, what=what, unit="s", limit=limit, width=width)


def rates(title: str, metric: str, by: str, where: str = "", *, what: str, width: int = 12) -> Json:
    """Return rates a second of a counter, a line for each value of the labels `by`, which name it."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return graph(title, (rate(metric, by, where), legend), what=what, unit="cps", width=width)


def heat(title: str, query: str, *, what: str, unit: str = "s", width: int = 12) -> Json:
    """Return a histogram over time."""
    panel = graph(title, (query, "{{le}}"), what=what, unit=unit, width=width)
    panel["type"] = "heatmap"
    panel["targets"][0]["format"] = "heatmap"
    panel["fieldConfig"] = {"defaults": {}, "overrides": []}
    panel["options"] = {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "cellGap": 1,
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
    }
    return panel


def table(
    title: str,
    query: str,
    *,
    what: str,
    hide: tuple[str, ...] = (),
    links: list[Json] | None = None,
    width: int = 12,
) -> Json:
    """Return the labels (and value) of what a query finds now."""
    return {
        "type": "table",
        "title": title,
        "description": what,
        "gridPos": {"w": width, "h": 8},
        "datasource": DATASOURCE,
        "targets": _targets(((query, "table"),), instant=True),
        "fieldConfig": {"defaults": {"links": links or []}, "overrides": []},
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": [
            {"id": "organize", "options": {"excludeByName": dict.fromkeys(("Time", "__name__", *hide), True)}}
        ],
    }


def words(title: str, markdown: str, *, width: int = 12, height: int = 8) -> Json:
    """Return a text."""
    return {
        "type": "text",
        "title": title,
        "gridPos": {"w": width, "h": height},
        "options": {"mode": "markdown", "content": markdown},
    }


def choice(name: str, label: str, metric: str, of: str) -> Json:
    """Return a variable: the values of a label, all of them by default."""
    query = f"label_values({metric}, {of})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"{name}-values"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard(
    uid: str,
    title: str,
    what: str,
    panels: list[Json],
    *,
    variables: tuple[Json, ...] = (),
    since: str = "now-1h",
) -> Json:
    """Return a dashboard; panels flow from left to right and top to bottom."""
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        place = panel["gridPos"]
        if x + place["w"] > 24:  # noqa: PLR2004 - Grafana's grid
            x, y, row = 0, y + row, 0
        place |= {"x": x, "y": y}
        x, row = x + place["w"], max(row, place["h"])
        panel["id"] = number
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "current": {"selected": True, "text": "Prometheus", "value": "prometheus"},
    }
    return {
        "uid": uid,
        "title": title,
        "description": what,
        "tags": ["access-monitor"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": since, "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Access monitor",
                "tags": ["access-monitor"],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "dashboard",
                "tooltip": "",
            }
        ],
        "annotations": {
            "list": [
                {
                    "name": "Revocations",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "iconColor": BAD,
                    "expr": 'sum(increase(access_monitor_decisions_total{kind="requested"}[1m])) > 0',
                    "step": "15s",
                    "titleFormat": "Credentials refused",
                    "textFormat": "",
                }
            ]
        },
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


def quantile(share: float, metric: str, window: str = "$__rate_interval") -> str:
    """Return the PromQL of a quantile of a histogram."""
    return f"histogram_quantile({share:g}, sum by (le) (rate(access_monitor_{metric}_bucket[{window}])))"


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the PromQL of a rate, summed."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate(access_monitor_{metric}{where}[$__rate_interval]))"
