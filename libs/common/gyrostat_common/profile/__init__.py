"""The reference profile of a version: what its inputs, scores and losses looked like on held-out rows.

Made once by the trainer (`build_profile`), stored as an immutable JSON artifact named by its SHA-256, read by the
monitor
(bins, tests, reference loss) and by inference (bins of bucketed inputs). Everything a detector needs is frozen here;
the stream
only keeps additive counts over these bins.
"""

from gyrostat_common.profile.building import build_profile
from gyrostat_common.profile.features import Between, Category, Column, Feature, Numeric
from gyrostat_common.profile.losses import LOSS_CLIP, losses, row_loss, scalar_scores
from gyrostat_common.profile.values import Profile, ProfileInvalid, ReferenceLoss, Residual, Score

__all__ = [
    "LOSS_CLIP",
    "Between",
    "Category",
    "Column",
    "Feature",
    "Numeric",
    "Profile",
    "ProfileInvalid",
    "ReferenceLoss",
    "Residual",
    "Score",
    "build_profile",
    "losses",
    "row_loss",
    "scalar_scores",
]
