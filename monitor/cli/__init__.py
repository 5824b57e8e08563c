"""The console command `monitor`. Each subcommand is imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from monitor import __version__
from monitor.errors import ExitCode, MonitorError

#: name → (module of monitor.cli, what it does). Each module has a `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "authz": ("authz", "Answer gateways that ask whether a credential may be used."),
    "backtest": ("backtest", "Run rules over recorded events: what they would have found."),
    "config": ("config", "Check and show the configuration."),
    "demo": ("demo", "Run the whole loop on this machine: gateway, attack, revocation."),
    "init": ("init", "Create topics, publish the first rules, set where to begin."),
    "keys": ("keys", "Make the key file for pseudonyms and partitions."),
    "rules": ("rules", "Check and list rules."),
    "ship": ("ship", "Send a gateway's log lines into Kafka."),
    "status": ("status", "Show mode, feeds, lag and open incidents on one screen."),
    "worker": ("worker", "Run the stream worker: intake, detect, enforce."),
}


class _Commands(click.Group):
    """Imports a subcommand when it is called, so that `monitor --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"monitor.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
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
