"""A whole configuration: one typed section each, every field with its meaning, unit and range.

One file carries all sections, so that every verb accepts the same file and the same overrides.
"""

from __future__ import annotations

from pydantic import Field

from raycxr.config.augment import AugmentSection
from raycxr.config.classify import ClassifySection
from raycxr.config.dataset import DatasetSection
from raycxr.config.evaluate import EvaluateSection
from raycxr.config.ingest import IngestSection
from raycxr.config.loss import LossSettingsSection
from raycxr.config.model import ModelSection
from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.config.postprocess import PostprocessSection
from raycxr.config.resources import ResourcesSection
from raycxr.config.sampling import SamplingSection
from raycxr.config.section import NonNegative, Section
from raycxr.config.tracking import TrackingSection
from raycxr.config.train import TrainSection
from raycxr.config.tune import TuneSection


class StorageSection(Section):
    """Where runs are kept."""

    uri: str = Field("runs", description="folder or s3:// prefix that holds the runs")


class Config(Section):
    """A whole configuration."""

    dataset: DatasetSection = DatasetSection()
    ingest: IngestSection | None = None
    model: ModelSection = ModelSection()
    loss: dict[str, NonNegative] = Field(
        {"bce": 1.0, "dice": 1.0}, min_length=1, description="loss name -> weight; 0 leaves one out"
    )
    loss_settings: LossSettingsSection = LossSettingsSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    augment: AugmentSection = AugmentSection()
    sampling: SamplingSection = SamplingSection()
    train: TrainSection = TrainSection()
    postprocess: PostprocessSection = PostprocessSection()
    classify: ClassifySection | None = Field(None, description="where given, a classifier is trained")
    evaluate: EvaluateSection = EvaluateSection()
    tune: TuneSection = TuneSection()
    storage: StorageSection = StorageSection()
    resources: ResourcesSection = ResourcesSection()
    # Made anew each time: it looks at the environment.
    tracking: TrackingSection = Field(default_factory=TrackingSection)

    @property
    def dataset_uri(self) -> str | None:
        """URI of the data set that is read: `dataset.uri`, else `ingest.out`, else None."""
        if self.dataset.uri is not None:
            return self.dataset.uri
        return self.ingest.out if self.ingest is not None else None
