"""The folder that a run is written to: checked, and kept from other writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from marginface.errors import MarginfaceError
from marginface.locking import sole_writer
from marginface.outputs import refuse_inputs
from marginface.regular import real_path
from marginface.runs.folder import RunFolder
from marginface.training.config.keys import TrainConfig


def check_output(config: TrainConfig, *, resume: bool, overwrite: bool = False) -> None:
    """Raise if a run cannot be written, or resumed, in the configured folder.

    Args:
        config: the configuration.
        resume: continue the run that is there.
        overwrite: replace the run that is there.
    """
    run = RunFolder(config.output)
    if resume:
        run.require_run()
        return
    inputs = [*config.data, *config.val, config.val_images, config.val_pairs]
    refuse_inputs(config.output, [*inputs, config.init])
    run.require_free(overwrite=overwrite)
    # Among the images it would be read as identities next time.
    output = real_path(config.output)
    folders = [("data", path) for path in config.data] + [("val", path) for path in config.val]
    for name, images in [*folders, ("val_images", config.val_images)]:
        if images is not None and output.is_relative_to(real_path(images)):
            raise MarginfaceError(
                f"output {config.output} lies in {name} {images}, among the images; "
                "choose a folder outside"
            )


@contextmanager
def sole_run_writer(config: TrainConfig, *, resume: bool) -> Iterator[None]:
    """Let no other process write the run until the block ends.

    Raises:
        BusyError: another process writes it.
        MarginfaceError: there is no folder, and none may be made.
    """
    run = RunFolder(config.output)
    if not run.path.is_dir():
        check_output(config, resume=resume)
    with sole_writer(run.path, run.lock):
        yield
