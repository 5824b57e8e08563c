"""The console command `monitor`. Each subcommand is imported only when it is used."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

from monitor import __version__
from monitor.cli.lazy import LazyGroup
from monitor.errors import ExitCode, MonitorError

#: name → (module of monitor.cli, what it does). Each module has a `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "authz": ("authz", "Answer gateways that ask whether a credential may be used."),
    "automation": ("automation", "Pause the automatic response for a limited time, or resume it."),
    "backtest": ("backtest", "Run rules over recorded events: what they would have found."),
    "canary": ("canary", "Send a synthetic credential that must be found, every minute."),
    "config": ("config", "Check and show the configuration."),
    "credentials": ("credentials", "See who is refused; suspend, revoke, reinstate, allow, approve."),
    "deliveries": ("deliveries", "See whether each gateway can be told; call one again after a 410."),
    "demo": ("demo", "Run the whole loop on this machine: gateway, attack, revocation."),
    "formats": ("formats", "List and try the formats of gateways; see what share of events names whom."),
    "doctor": ("doctor", "Try all that the monitor needs, and say what does not work."),
    "drill": ("drill", "Suspend and reinstate a test credential at each gateway: could it be told?"),
    "fuse": ("fuse", "See and reset the ceilings on automatic responses."),
    "incidents": ("incidents", "See what happened and whether it is contained; ack, dismiss, close."),
    "init": ("init", "Create topics, publish the first rules, set where to begin."),
    "keys": ("keys", "Make the key file for pseudonyms and partitions."),
    "match": ("match", "Say which of some patients an incident touched, with the keys."),
    "pseudonym": ("pseudonym", "Say what ids are called behind intake, with the keys."),
    "rejected": ("rejected", "See records that could not be read, and send them again."),
    "rules": ("rules", "Check, test, list and change rules."),
    "ship": ("ship", "Send a gateway's log lines into Kafka."),
    "status": ("status", "Show mode, feeds, lag and open incidents on one screen."),
    "worker": ("worker", "Run the stream worker: intake, detect, enforce."),
}


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="access-monitor")
def cli() -> None:
    """Watch who reads health data, and refuse the credential that reads too much.

    The settings are read from monitor.yaml (--config, MONITOR_CONFIG) and from the environment
    (MONITOR_KAFKA__BOOTSTRAP_SERVERS is kafka.bootstrap_servers).
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and end the process with its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="monitor", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except MonitorError as error:
        click.echo(f"monitor: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read our output has gone; writing the rest at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
