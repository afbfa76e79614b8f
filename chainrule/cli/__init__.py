"""The command line: `chainrule fit`, `demo`, `predict`, `explain`, `bench`."""


def main() -> None:
    """Run the command that was typed."""
    from chainrule.cli.commands import app

    app()
