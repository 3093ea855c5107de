"""The `gyrostat` command. Modules here import typer and nothing heavy; the SDK is loaded when a command runs."""


def main() -> None:
    """Entry point of the command."""
    from gyrostat_client.cli.app import app

    app(prog_name="gyrostat")
