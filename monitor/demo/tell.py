"""The report and what to try next, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from monitor.core.sentences import duration
from monitor.demo.stack import ATTACKER, PARTNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from monitor.demo.report import Report
    from monitor.demo.stack import Stack

_NEVER: Final = "never"


def print_report(console: Console, report: Report) -> None:
    """Print the figures, the verdict on each link, and the verdict."""
    console.print()
    console.print(_figures(report))
    console.print()
    links = Table(box=None, pad_edge=False, show_header=False)
    links.add_column()
    links.add_column(style="bold")
    links.add_column(overflow="fold")
    for link in report.links:
        mark = Text("held", style="green") if link.held else Text("FAILED", style="bold red")
        links.add_row(mark, link.name, link.detail)
    console.print(links)
    console.print()
    console.print(_verdict(report))


def print_hints(console: Console, stack: Stack) -> None:
    """Print addresses and commands to try while everything stays up."""
    rows = [("gateway (Envoy)", stack.gateway), ("API keys", f"{stack.folder / 'keys'}")]
    ports, config = stack.ports, stack.config
    if stack.options.with_monitor:
        rows += [
            ("decision service", f"http://127.0.0.1:{ports.authz}"),
            ("metrics and probes", f"http://127.0.0.1:{ports.observe}/metrics"),
            ("Kafka", ",".join(stack.settings.kafka.bootstrap_servers)),
            ("settings", str(config)),
        ]
        if stack.settings.operator.allowed_signers_file is not None:
            rows.append(("your SSH key, a colleague's", str(stack.folder / "operators")))
    tries = list(_tries(stack))
    rows.append(("logs", f"{stack.folder}/*.log"))
    where = Table(box=None, pad_edge=False, show_header=False)
    where.add_column(style="dim")
    where.add_column(overflow="fold")
    for row in rows:
        where.add_row(*row)
    console.print()
    console.print(where)
    console.print("\nTry:")
    for line in tries:
        # As it is, on one line: it is there to be copied.
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print("\nEverything stays up until Ctrl-C.")


def _tries(stack: Stack) -> Iterator[str]:
    """Yield commands that work as they are printed, in this order."""
    record = next(iter(stack.register.appointments))
    asks = [
        f"curl -i -H @{stack.header_file(client)} {stack.gateway}/appointments/{record}"
        for client in (PARTNERS[0], ATTACKER)
    ]
    yield from asks
    if not stack.options.with_monitor:
        return
    reach = f"-c {stack.config}"
    yield f"monitor status {reach}"
    yield f"monitor config show {reach}"
    yield f"curl -s http://127.0.0.1:{stack.ports.observe}/metrics | grep access_monitor_"
    if stack.settings.operator.allowed_signers_file is None:
        return
    yield f"monitor incidents list {reach}"
    yield f"monitor incidents show INC-0001 {reach}"
    yield f'monitor incidents ack INC-0001 --reason "I am on it" {reach}'
    yield (
        f'monitor credentials reinstate {ATTACKER} --grace 10m --reason "a new developer, they stopped"'
        f" --yes --wait {reach}"
    )
    yield asks[1]
    yield (
        f'monitor credentials suspend {PARTNERS[0]} --for 1h --reason "they phoned: key leaked"'
        f" --yes --wait {reach}"
    )
    yield asks[0]
    yield f"monitor credentials list {reach}"
    yield f"monitor fuse status {reach}"
    yield f'monitor automation pause --for 10m --reason "a migration" --yes {reach}'
    yield f"monitor automation status {reach}"
    yield f'monitor incidents close INC-0001 --verdict benign --reason "explained" {reach}'


def _figures(report: Report) -> Table:
    exposed, after = report.exposure, report.latency_ms
    rows = [
        ("Appointments taken", f"{exposed.appointments:,} of {exposed.appointments_total:,}"),
        ("Different patients", f"{exposed.patients:,} of {exposed.patients_total:,}"),
    ]
    if report.with_monitor:
        rows += [
            (
                "Limit of the rule",
                f"{exposed.threshold} patients in {duration(exposed.timespan_seconds * 1000)}",
            ),
            ("", ""),
            ("From the request that reached it", ""),
            ("  to the finding", _ms(after.finding)),
            ("  to the decision", _ms(after.decision)),
            ("  to the accepted webhook", _ms(after.webhook)),
            ("  to the first refused request", _ms(after.first_refusal)),
            ("Requests leaked after the decision", f"{report.leaked_after_decision}"),
        ]
    rows += [
        ("", ""),
        (
            "Attacker's requests",
            f"{exposed.requests:,} at {report.rate:g} a second, {exposed.refused} refused",
        ),
        ("Partners' requests", f"{report.partner_requests:,}, {report.partner_refused} refused"),
        ("Time", f"{report.run_seconds:.1f} s, of that {report.start_seconds:.1f} s to start everything"),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _verdict(report: Report) -> Text:
    if not report.held:
        failed = ", ".join(link.name for link in report.links if not link.held)
        return Text(f"The loop did not hold: {failed}.", style="bold red")
    if not report.with_monitor:
        return Text("Every request was allowed, and nobody counted: that is what happens.", style="bold")
    return Text(f"The loop held: {report.incident} is {report.state}.", style="bold green")


def _ms(milliseconds: float | None) -> str:
    return _NEVER if milliseconds is None else f"{milliseconds:,.0f} ms"
