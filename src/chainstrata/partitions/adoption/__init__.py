"""An existing plain table becomes a partitioned one, online."""

from chainstrata.partitions.adoption.model import Adopted, AdoptionDiffers, AdoptionPlan, CannotAdopt, Phase
from chainstrata.partitions.adoption.runner import adopt, cancel_adoption, plan_adoption

__all__ = ["Adopted", "AdoptionDiffers", "AdoptionPlan", "CannotAdopt", "Phase", "adopt", "cancel_adoption", "plan_adoption"]
