"""Build hook: refuses a wheel, which would lack the checkpoints and gunicorn's configuration."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class RefuseWheel(bdist_wheel):
    """The wheel command; `pip install --editable .` does not run it."""

    def run(self) -> None:
        """Refuse, naming the commands that work.

        Raises:
            SystemExit: Always.
        """
        raise SystemExit(
            "Petalscope runs from its checkout, which holds the checkpoints: use `make serve`, the "
            "Dockerfile, or `pip install --editable .`."
        )


setup(cmdclass={"bdist_wheel": RefuseWheel})
