"""The step `cluster`: the options for weight clustering in a pipeline file. Imports neither TensorFlow nor TFX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from components.core.values import FrozenModel
from components.spec.steps.fine_tuning import FineTuning, WeightInvariants
from components.spec.steps.layer_patterns import LayerPattern

# Largest number of values of int8 weights, which don't use the smallest integer.
MAX_CLUSTERS = 255
NumClusters = Annotated[int, Field(ge=2, le=MAX_CLUSTERS)]
Initialization = Literal["linear", "random", "density", "kmeans++"]


class LayerNumClusters(FrozenModel):
    """A different number of values in some layers. A later entry overrides an earlier one.

    Attributes:
        layers: Layer names or shell patterns.
        num_clusters: Number of values in each kernel of these layers.
    """

    layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1)]
    num_clusters: NumClusters


class ClusterStep(FineTuning):
    """Weights that share a few values, which training then adjusts (Han et al. 2016, arXiv:1510.00149, section 3).

    After a `prune` step, zero is one of the values, and weights that are zero stay zero.

    Attributes:
        num_clusters: Number of different values in each kernel, zero included.
        initialization: Where the values start: `linear`, evenly spaced between the smallest and the largest weight;
            `random`, at random in between; `density`, at even quantiles of the weights; or `kmeans++` (Arthur and
            Vassilvitskii 2007).
        layers: Names or shell patterns of the layers to cluster. By default, all layers with kernels except depthwise
            ones.
        except_layers: Names or shell patterns of layers to leave out.
        targets: Layers with their own number of values.
    """

    # `except` is a Python keyword.
    model_config = ConfigDict(serialize_by_alias=True)

    shell = "components.cluster.component:Clusterer"
    preview = "components.cluster.clustering:preview"
    depends_on = frozenset({"invariants"})

    kind: Literal["cluster"]
    num_clusters: NumClusters = 16
    initialization: Initialization = "linear"
    layers: tuple[LayerPattern, ...] = ()
    except_layers: tuple[LayerPattern, ...] = Field(default=(), alias="except")
    targets: tuple[LayerNumClusters, ...] = ()

    def establishes(self) -> WeightInvariants:
        """Shared values, which later steps keep."""
        return WeightInvariants(num_clusters=self.largest_num_clusters)

    @property
    def largest_num_clusters(self) -> int:
        """The largest number of values that a weight tensor of the model can have."""
        return max([self.num_clusters, *(target.num_clusters for target in self.targets)])
