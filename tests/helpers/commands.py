"""Commands as a user types them, run in this process."""

from typer.testing import CliRunner, Result

from marginface.cli.main import app
from marginface.errors import MarginfaceError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "150"})


def done(*arguments: object) -> str:
    """Return what a command prints that ends well."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refusal(*arguments: object) -> str:
    """Return the one line that a command ends with."""
    result = run(*arguments)
    assert isinstance(result.exception, MarginfaceError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)
