"""Starting the processes of a training, and bringing back what they fitted."""

from tfx_feeder.components.feeder_trainer.fitting import FitJob, Fitted


def fit_in_processes(job: FitJob, log_dir: str) -> Fitted:
    """Fits in processes other than this one; which ones, the strategy says."""
    raise NotImplementedError
